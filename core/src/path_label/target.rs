//! The path of a request target: what stands before `?` or `#` (RFC 3986 §3.3),
//! as printable ASCII.

use std::borrow::Cow;

use super::MAX_LOOKED_AT;
use crate::stat_name::percent;

/// A path, as far as it is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    path: &'a [u8],
    graphic: bool,
    cut: bool,
}

/// What a byte is to a path: nothing special, one that is spelled `%XX`, or
/// the end.
static BYTES: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut byte = 0_u8;
    loop {
        let class = match byte {
            b'?' | b'#' => END,
            byte if byte.is_ascii_graphic() => 0,
            _ => SPELLED,
        };
        #[expect(clippy::indexing_slicing, reason = "a byte is below 256")]
        {
            bytes[byte as usize] = class;
        }
        if byte == u8::MAX {
            break bytes;
        }
        byte += 1;
    }
};
const SPELLED: u8 = 1;
const END: u8 = 2;

impl<'a> Target<'a> {
    /// The path in the value of a `:path` pseudo-header.
    pub(crate) fn new(target: &'a [u8]) -> Self {
        // One byte more than is looked at shows that there is more.
        let seen = target.get(..=MAX_LOOKED_AT).unwrap_or(target);
        let mut classes = 0;
        let end = seen.iter().position(|byte| {
            classes |= BYTES.get(usize::from(*byte)).copied().unwrap_or(END);
            classes & END != 0
        });
        let path = seen.get(..end.unwrap_or(seen.len())).unwrap_or(seen);
        Self {
            path: path.get(..MAX_LOOKED_AT).unwrap_or(path),
            graphic: classes & SPELLED == 0,
            cut: path.len() > MAX_LOOKED_AT,
        }
    }

    /// The bytes as they came, at most [`MAX_LOOKED_AT`].
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.path
    }

    /// The path as text, at most [`MAX_LOOKED_AT`] bytes, and whether it goes on
    /// beyond that.
    pub(super) fn text(&self) -> (Cow<'a, str>, bool) {
        if self.graphic
            && let Ok(text) = str::from_utf8(self.path)
        {
            return (Cow::Borrowed(text), self.cut);
        }
        let (text, whole) = spelled(self.path, MAX_LOOKED_AT);
        (Cow::Owned(text), self.cut || !whole)
    }
}

/// Bytes as text, each that is no printable ASCII as `%XX`.
pub(super) fn printable(bytes: &[u8]) -> String {
    spelled(bytes, usize::MAX).0
}

/// The same up to `most` bytes of text, and whether that is all of it.
fn spelled(bytes: &[u8], most: usize) -> (String, bool) {
    let mut text = vec![0; most.min(3 * bytes.len())];
    let mut length = 0;
    let mut whole = true;
    for byte in bytes {
        let room = text.get_mut(length..).unwrap_or_default();
        let graphic = byte.is_ascii_graphic();
        if graphic && let Some(place) = room.first_mut() {
            *place = *byte;
            length += 1;
        } else if !graphic && let Some(place) = room.first_chunk_mut() {
            *place = percent(*byte);
            length += 3;
        } else {
            whole = false;
            break;
        }
    }
    text.truncate(length);
    (String::from_utf8(text).unwrap_or_default(), whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(target: &[u8]) -> (String, bool) {
        let (text, cut) = Target::new(target).text();
        (text.into_owned(), cut)
    }

    #[test]
    fn a_path_ends_at_its_query_or_fragment() {
        assert_eq!(text(b"/a?b#c"), ("/a".to_owned(), false));
        assert_eq!(text(b"/a#b?c"), ("/a".to_owned(), false));
        assert_eq!(text(b"?"), (String::new(), false));
    }

    #[test]
    fn a_path_is_cut_by_what_it_is_spelled_as() {
        let long = |byte: u8, bytes: usize| text(&vec![byte; bytes]);
        assert_eq!(long(b'a', MAX_LOOKED_AT), ("a".repeat(1024), false));
        assert_eq!(long(b'a', MAX_LOOKED_AT + 1), ("a".repeat(1024), true));
        assert_eq!(long(0xff, 341), ("%FF".repeat(341), false));
        assert_eq!(long(0xff, 342), ("%FF".repeat(341), true));
    }

    #[test]
    fn a_query_right_after_the_last_byte_is_no_cut() {
        let mut target = vec![b'a'; MAX_LOOKED_AT];
        target.extend(b"?x");
        assert!(!text(&target).1);
    }
}
