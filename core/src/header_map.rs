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

/// The name and value pairs of a serialized map.
#[derive(Clone, Debug)]
pub struct HeaderMap<'a> {
    sizes: &'a [u8],
    data: &'a [u8],
}

impl<'a> HeaderMap<'a> {
    /// The pairs of a serialized map; none where it is cut before its sizes end.
    pub fn new(bytes: &'a [u8]) -> Self {
        let empty = Self {
            sizes: &[],
            data: &[],
        };
        let Some((count, rest)) = split_u32(bytes) else {
            return empty;
        };
        let Some(sizes) = (count as usize).checked_mul(8) else {
            return empty;
        };
        match rest.split_at_checked(sizes) {
            Some((sizes, data)) => Self { sizes, data },
            None => empty,
        }
    }

    /// How many pairs are left, as the sizes have it.
    pub fn len(&self) -> usize {
        self.sizes.len() / 8
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }
}

impl<'a> Iterator for HeaderMap<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, sizes) = split_u32(self.sizes)?;
        let (value, sizes) = split_u32(sizes)?;
        self.sizes = sizes;
        let (name, data) = split_text(self.data, name)?;
        let (value, data) = split_text(data, value)?;
        self.data = data;
        Some((name, value))
    }
}

fn split_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*head), rest))
}

fn split_text(bytes: &[u8], length: u32) -> Option<(&[u8], &[u8])> {
    let (text, rest) = bytes.split_at_checked(length as usize)?;
    let (_nul, rest) = rest.split_first()?;
    Some((text, rest))
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
