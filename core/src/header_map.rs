//! Reads a header map in the form in which a proxy-wasm host copies it into
//! the module (Proxy-Wasm ABI 0.2.1, "Serialized header map").
//!
//! ```text
//! u32 count, then for each header u32 name length, u32 value length,
//! then for each header name NUL value NUL         (little endian)
//! ```
//!
//! Names and values are borrowed as bytes: HTTP allows what UTF-8 does not.
//! A map whose sizes do not fit the bytes ends early instead of failing: what
//! was readable is used.
//!
//! A host that can show its own memory hands over something else that has
//! [`Pairs`], and copies nothing.

use std::ops::Deref;

/// Headers as a host hands them over.
pub trait Pairs {
    /// Names, in lower case, and values, in the order of the map.
    fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])>;

    /// How many there are, as the host has it.
    fn count(&self) -> usize;

    /// Of the first `most` those whose names have one of these lengths, or look as
    /// if; and whether there are more than `most`.
    #[inline]
    fn of(&self, lengths: Lengths, most: usize) -> (impl Iterator<Item = (&[u8], &[u8])>, bool) {
        let first = self.pairs().take(most);
        let of = first.filter(move |(name, _)| lengths.may_be(name.len() as u64));
        (of, self.count() > most)
    }
}

/// A serialized map.
impl<B: Deref<Target = [u8]>> Pairs for B {
    #[inline]
    fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        HeaderMap::new(self)
    }

    #[inline(always)]
    fn count(&self) -> usize {
        HeaderMap::new(self).len()
    }

    #[inline(always)]
    fn of(&self, lengths: Lengths, most: usize) -> (impl Iterator<Item = (&[u8], &[u8])>, bool) {
        let map = HeaderMap::new(self);
        let more = map.len() > most;
        (map.of(lengths, most), more)
    }
}

/// The name and value pairs of a serialized map.
#[derive(Clone, Debug)]
pub struct HeaderMap<'a> {
    /// Of name and value, for each pair.
    sizes: &'a [[u8; 8]],
    /// The same for each that is left.
    rest: &'a [[u8; 8]],
    /// The sum of those that are not.
    before: Sizes,
    /// All names and values, with a NUL behind each.
    data: &'a [u8],
    lengths: Lengths,
}

/// A sum of sizes in their own form: of names in the lower half, of values in the
/// upper, and there the NULs of both. Beyond 4 GiB it is wrong, and so are the
/// pairs of a host that says so; they never leave the data.
#[derive(Clone, Copy, Debug, Default)]
struct Sizes(u64);

impl Sizes {
    #[inline]
    const fn of(size: [u8; 8]) -> Self {
        Self(u64::from_le_bytes(size))
    }

    #[inline]
    const fn and(self, other: Self) -> Self {
        const NULS: u64 = 2 << 32;
        Self(self.0.wrapping_add(other.0).wrapping_add(NULS))
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "it is the lower half")]
    const fn of_names(self) -> usize {
        self.0 as u32 as usize
    }

    #[inline]
    const fn of_values(self) -> usize {
        Self(self.0 >> 32).of_names()
    }
}

/// Lengths of names, as a bit for each, that of 0 uppermost; from 64 on a length
/// shares its bit with the one that is 64 shorter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lengths(u64);

impl Lengths {
    /// These lengths and that of `name`.
    #[must_use]
    pub const fn with(self, name: &str) -> Self {
        self.with_length(name.len())
    }

    /// These lengths and that one.
    #[must_use]
    pub const fn with_length(self, length: usize) -> Self {
        Self(self.0 | (1 << 63) >> (length % 64))
    }

    /// Whether that of the name is among them, by the lowest bits of its size.
    #[inline]
    const fn may_be(self, size: u64) -> bool {
        (self.0 << (size % 64)).cast_signed() < 0
    }
}

impl<'a> HeaderMap<'a> {
    /// The pairs of a serialized map; none where it is cut before its sizes end.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        let pairs = bytes.split_first_chunk::<4>().and_then(|(count, rest)| {
            let count = u32::from_le_bytes(*count) as usize;
            let sizes = rest.as_chunks().0.get(..count)?;
            Some((sizes, rest.get(8 * count..)?))
        });
        let (sizes, data) = pairs.unwrap_or_default();
        Self {
            sizes,
            rest: sizes,
            before: Sizes(0),
            data,
            lengths: Lengths(u64::MAX),
        }
    }

    /// Of the first `most` those whose names have one of these lengths, or look as
    /// if.
    #[inline(always)]
    #[must_use]
    pub fn of(self, lengths: Lengths, most: usize) -> Self {
        let sizes = self.sizes.get(..most).unwrap_or(self.sizes);
        Self {
            sizes,
            rest: sizes,
            lengths,
            ..self
        }
    }

    /// How many pairs there are, as the sizes have it.
    #[inline]
    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// The pair of these sizes, behind those that have that sum.
    #[inline(always)]
    fn pair(&self, before: Sizes, size: Sizes) -> Option<(&'a [u8], &'a [u8])> {
        let begin = before.of_names().wrapping_add(before.of_values());
        let rest = self.data.get(begin..)?;
        let (name, rest) = rest.split_at_checked(size.of_names())?;
        let (_nul, rest) = rest.split_first()?;
        let (value, rest) = rest.split_at_checked(size.of_values())?;
        rest.first()?;
        Some((name, value))
    }
}

impl<'a> Iterator for HeaderMap<'a> {
    type Item = (&'a [u8], &'a [u8]);

    /// Pairs of other lengths are passed by without a look at their bytes.
    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let mut sizes = self.rest.iter();
        let mut before = self.before;
        let size = loop {
            let size = Sizes::of(*sizes.next()?);
            if self.lengths.may_be(size.0) {
                break size;
            }
            before = before.and(size);
        };
        self.rest = sizes.as_slice();
        self.before = before.and(size);
        self.pair(before, size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::serialize;
    use proptest::prelude::*;

    #[test]
    fn reads_names_and_values_as_bytes() {
        let bytes = serialize(&[(b":path", b"/a"), (b"x", b"\xff\0y"), (b"empty", b"")]);
        let pairs: Vec<_> = HeaderMap::new(&bytes).collect();
        assert_eq!(
            pairs,
            [
                (b":path".as_slice(), b"/a".as_slice()),
                (b"x", b"\xff\0y"),
                (b"empty", b"")
            ]
        );
    }

    #[test]
    fn a_cut_map_gives_what_was_whole() {
        let bytes = serialize(&[(b"a", b"1"), (b"b", b"2")]);
        for length in 0..bytes.len() {
            let cut = &bytes[..length];
            assert!(HeaderMap::new(cut).count() < 2, "{length}");
        }
        assert_eq!(HeaderMap::new(&bytes).count(), 2);
    }

    fn values(map: &impl Pairs, lengths: Lengths, most: usize) -> Vec<&[u8]> {
        map.of(lengths, most).0.map(|(_, value)| value).collect()
    }

    #[test]
    fn of_some_lengths_only_those_pairs_are_given() {
        /// A map with nothing but pairs.
        struct Plain<'a>(&'a [u8]);
        impl Pairs for Plain<'_> {
            fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
                HeaderMap::new(self.0)
            }

            fn count(&self) -> usize {
                HeaderMap::new(self.0).count()
            }
        }
        let long = [b'x'; 68];
        let bytes = serialize(&[(b"a", b"1"), (b"bb", b"2"), (b"cccc", b"3"), (&long, b"4")]);
        let lengths = Lengths::default().with("four");
        for (most, expected) in [
            (9, &["3", "4"][..]),
            (4, &["3", "4"]),
            (3, &["3"]),
            (2, &[]),
        ] {
            let expected: Vec<&[u8]> = expected.iter().map(|value| value.as_bytes()).collect();
            assert_eq!(values(&bytes, lengths, most), expected, "{most}");
            assert_eq!(values(&Plain(&bytes), lengths, most), expected, "{most}");
        }
        assert_eq!([Pairs::count(&bytes), Plain(&bytes).count()], [4, 4]);
    }

    #[test]
    fn of_a_cut_map_the_pairs_of_some_lengths_are_given_that_are_whole() {
        let bytes = serialize(&[(b"a", b"1"), (b"bb", b"2"), (b"c", b"3")]);
        for length in 0..=bytes.len() {
            let cut = &bytes[..length];
            let whole = HeaderMap::new(cut).filter(|(name, _)| name.len() == 1);
            let whole: Vec<_> = whole.map(|(_, value)| value).collect();
            assert_eq!(
                values(&cut, Lengths::default().with("a"), 9),
                whole,
                "{length}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes: Vec<u8>) {
            prop_assert!(HeaderMap::new(&bytes).count() <= bytes.len());
        }

        #[test]
        fn what_was_serialized_is_read_back(pairs: Vec<(Vec<u8>, Vec<u8>)>) {
            let pairs: Vec<(&[u8], &[u8])> = pairs
                .iter()
                .map(|(name, value)| (name.as_slice(), value.as_slice()))
                .collect();
            let bytes = serialize(&pairs);
            prop_assert_eq!(HeaderMap::new(&bytes).collect::<Vec<_>>(), pairs);
        }
    }
}
