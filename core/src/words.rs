//! Bytes a word at a time: whether two texts are the same, and a hash of one.
//!
//! A module has no `memcmp` of the machine's, only a loop over bytes, which costs
//! ten instructions for each. Most names and paths are shorter than three words.

/// Whether two texts are the same.
#[inline]
pub(crate) fn same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    if left.len() < 8 {
        return match (left.first_chunk::<4>(), right.first_chunk::<4>()) {
            // The last four bytes overlap the first ones.
            (Some(first), Some(other)) => {
                u32::from_le_bytes(*first) == u32::from_le_bytes(*other)
                    && left.last_chunk::<4>().map(|last| u32::from_le_bytes(*last))
                        == right
                            .last_chunk::<4>()
                            .map(|last| u32::from_le_bytes(*last))
            }
            _ => left.iter().eq(right),
        };
    }
    let (words, _) = left.as_chunks::<8>();
    let (others, _) = right.as_chunks::<8>();
    words
        .iter()
        .zip(others)
        .all(|(word, other)| u64::from_le_bytes(*word) == u64::from_le_bytes(*other))
        && last(left) == last(right)
}

/// Whether a text is one that is known beforehand.
#[inline(always)]
pub(crate) fn is<const LENGTH: usize>(text: &[u8], known: &[u8; LENGTH]) -> bool {
    let Some(text) = text.as_array::<LENGTH>() else {
        return false;
    };
    // What the length does not allow is no code; the last word overlaps others.
    if LENGTH < 4 {
        return text == known;
    }
    if LENGTH < 8 {
        return half(text, 0) == half(known, 0)
            && half(text, LENGTH - 4) == half(known, LENGTH - 4);
    }
    let last = LENGTH - 8;
    (0..last)
        .step_by(8)
        .all(|at| word(text, at) == word(known, at))
        && word(text, last) == word(known, last)
}

/// Eight bytes, the first of them lowest; 0 where there are not so many.
#[inline(always)]
fn word(text: &[u8], at: usize) -> u64 {
    let word = text.get(at..).and_then(<[u8]>::first_chunk);
    word.map_or(0, |word| u64::from_le_bytes(*word))
}

/// The same of four bytes.
#[inline(always)]
fn half(text: &[u8], at: usize) -> u32 {
    let half = text.get(at..).and_then(<[u8]>::first_chunk);
    half.map_or(0, |half| u32::from_le_bytes(*half))
}

/// The last eight bytes, the first of them lowest; of fewer, all.
#[inline]
pub(crate) fn last(text: &[u8]) -> u64 {
    // A pattern, for what is found by it is no pointer that may be null.
    if let [.., a, b, c, d, e, f, g, h] = *text {
        return u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    }
    text.iter()
        .rev()
        .fold(0, |word, byte| (word << 8) | u64::from(*byte))
}

/// A hash to which a word was added. An odd factor, so that no word is lost;
/// the upper half of the product, where all bits meet, is folded into the lower.
#[inline]
pub(crate) const fn mix(hash: u64, word: u64) -> u64 {
    /// 2^64 divided by the golden ratio.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let product = (hash ^ word).wrapping_mul(FACTOR);
    product ^ (product >> 32)
}

/// Where the search in a table begins, whose size is a power of two; to be masked.
/// The uppermost bits are the best, for they come of all bits of the word.
#[inline]
pub(crate) const fn home(hash: u64) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "it is masked")]
    let home = (hash ^ (hash >> 48)) as usize;
    home
}

/// A bit in each byte of `word` that is `byte`, and maybe in bytes above the
/// lowest of those.
#[inline]
pub(crate) const fn bytes_like(word: u64, byte: u8) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let zeros = word ^ (ONES * byte as u64);
    zeros.wrapping_sub(ONES) & !zeros & (ONES << 7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_of_any_length_is_the_same_as_itself_and_as_no_other() {
        for length in 0..40 {
            let text: Vec<u8> = (0..length).collect();
            assert!(same(&text, &text));
            assert!(!same(&text, &[&text[..], b"x"].concat()));
            for place in 0..text.len() {
                let mut other = text.clone();
                other[place] ^= 0x80;
                assert!(!same(&text, &other), "{length} bytes, byte {place}");
            }
        }
    }

    proptest! {
        #[test]
        fn the_lowest_byte_that_is_found_is_the_first(text: [u8; 8], byte: u8) {
            let found = bytes_like(u64::from_le_bytes(text), byte);
            let first = text.iter().position(|other| *other == byte);
            let lowest = (found != 0).then(|| found.trailing_zeros() as usize / 8);
            prop_assert_eq!(lowest, first);
        }
    }
}
