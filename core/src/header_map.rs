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
    /// Of names, in lower case, and values, the first `most`, in the order of the map.
    fn first(&self, most: usize) -> impl Walk<'_>;

    /// How many there are, as the host has it.
    fn count(&self) -> usize;

    /// All of them.
    #[inline]
    fn pairs(&self) -> impl Walk<'_> {
        self.first(usize::MAX)
    }
}

/// Goes over the pairs of a map.
pub trait Walk<'a>: Iterator<Item = (&'a [u8], &'a [u8])> + Sized {
    /// The next pair whose name has one of these lengths, or looks as if.
    #[inline]
    fn next_of(&mut self, lengths: Lengths) -> Option<(&'a [u8], &'a [u8])> {
        self.find(|(name, _)| lengths.may_be(name.len() as u64))
    }
}

/// A serialized map.
impl<B: Deref<Target = [u8]>> Pairs for B {
    #[inline]
    fn first(&self, most: usize) -> impl Walk<'_> {
        HeaderMap::new(self).first(most)
    }

    #[inline]
    fn count(&self) -> usize {
        HeaderMap::new(self).len()
    }
}

/// The name and value pairs of a serialized map.
#[derive(Clone, Debug)]
pub struct HeaderMap<'a> {
    /// Of name and value, for each pair that is left.
    sizes: &'a [[u8; 8]],
    /// All names and values, with a NUL behind each.
    data: &'a [u8],
    /// Where the next name begins, as a sum of sizes in their own form: of names in
    /// the lower half, with the NULs, of values in the upper. Beyond 4 GiB it is
    /// wrong, and so are the pairs of a host that says so; they never leave `data`.
    next: u64,
}

/// Lengths of names, as a bit for each; from 64 on a length shares its bit with
/// the one that is 64 shorter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lengths(u64);

impl Lengths {
    /// Every length.
    pub const ALL: Self = Self(u64::MAX);

    /// These lengths and that of `name`.
    #[must_use]
    pub const fn with(self, name: &str) -> Self {
        Self(self.0 | 1 << (name.len() % 64))
    }

    /// Whether that of the name is among them, by the lowest bits of its size.
    #[inline]
    const fn may_be(self, size: u64) -> bool {
        self.0 >> (size % 64) & 1 == 1
    }
}

impl<'a> HeaderMap<'a> {
    /// The pairs of a serialized map; none where it is cut before its sizes end.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        let pairs = bytes.split_first_chunk::<4>().and_then(|(count, rest)| {
            let sizes = (u32::from_le_bytes(*count) as usize).checked_mul(8)?;
            rest.split_at_checked(sizes)
        });
        let (sizes, data) = pairs.unwrap_or_default();
        Self {
            sizes: sizes.as_chunks().0,
            data,
            next: 0,
        }
    }

    /// Of those that are left, the first `most`.
    #[inline]
    #[must_use]
    pub fn first(self, most: usize) -> Self {
        Self {
            sizes: self.sizes.get(..most).unwrap_or(self.sizes),
            ..self
        }
    }

    /// How many pairs are left, as the sizes have it.
    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }
}

impl<'a> Walk<'a> for HeaderMap<'a> {
    /// Those before it are passed by without a look at their bytes.
    #[inline]
    fn next_of(&mut self, lengths: Lengths) -> Option<(&'a [u8], &'a [u8])> {
        let mut sizes = self.sizes.iter();
        let mut end = self.next;
        let size = loop {
            let Some(size) = sizes.next() else {
                self.sizes = &[];
                return None;
            };
            let size = u64::from_le_bytes(*size);
            end = end.wrapping_add(size).wrapping_add(2);
            if lengths.may_be(size) {
                break size;
            }
        };
        self.sizes = sizes.as_slice();
        self.next = end;
        let begin = end.wrapping_sub(size).wrapping_sub(2);
        let begin = name_size(begin).wrapping_add(value_size(begin));
        let (name, rest) = self.data.get(begin..)?.split_at_checked(name_size(size))?;
        let (_nul, rest) = rest.split_first()?;
        let (value, rest) = rest.split_at_checked(value_size(size))?;
        rest.first()?;
        Some((name, value))
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "it is the lower half")]
const fn name_size(size: u64) -> usize {
    size as u32 as usize
}

#[inline]
const fn value_size(size: u64) -> usize {
    name_size(size >> 32)
}

impl<'a> Iterator for HeaderMap<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.next_of(Lengths::ALL)
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

    #[test]
    fn of_some_lengths_only_those_pairs_are_given() {
        let long = [b'x'; 68];
        let bytes = serialize(&[(b"a", b"1"), (b"bb", b"2"), (b"cccc", b"3"), (&long, b"4")]);
        let mut map = HeaderMap::new(&bytes);
        let lengths = Lengths::default().with("four");
        assert_eq!(map.next_of(lengths), Some((&b"cccc"[..], &b"3"[..])));
        let other = map.next_of(lengths);
        assert_eq!(other.map(|(_, value)| value), Some(&b"4"[..]), "looks so");
        assert_eq!(map.next_of(lengths), None);
        let mut first = HeaderMap::new(&bytes).first(2);
        assert_eq!(first.len(), 2);
        assert_eq!(first.next_of(lengths), None);
        assert_eq!(HeaderMap::new(&bytes).first(9).len(), 4);
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
