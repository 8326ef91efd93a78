//! Which whole segments of a path are identifiers, not names: numbers, UUIDs
//! (RFC 9562), long hexadecimal strings and ULIDs.
//!
//! A guess, made only where no route templates are configured. It is no bound
//! on the number of labels; admission and the cap are.

use std::borrow::Cow;

use super::rule::TooMuch;

/// What stands in the place of an identifier.
const ID: &str = ":id";

/// Most identifiers that are replaced in a path.
const MAX_IDENTIFIERS: usize = 64;

/// From this length on, a segment of hex digits is an identifier.
const LONG_HEX: usize = 16;

/// What the bytes of a segment have in common, as bits that are and-ed.
mod class {
    pub(super) const DIGIT: u8 = 1;
    pub(super) const HEX: u8 = 2;
    /// Crockford's base 32, which has no I, L, O and U.
    pub(super) const BASE32: u8 = 4;
    /// What a UUID is made of.
    pub(super) const UUID: u8 = 8;
}

/// The classes of each byte.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0_u8;
    loop {
        let upper = byte.to_ascii_uppercase();
        let mut class = 0;
        if byte.is_ascii_digit() {
            class |= class::DIGIT;
        }
        if byte.is_ascii_hexdigit() {
            class |= class::HEX | class::UUID;
        }
        if byte == b'-' {
            class |= class::UUID;
        }
        if byte.is_ascii_alphanumeric() && !matches!(upper, b'I' | b'L' | b'O' | b'U') {
            class |= class::BASE32;
        }
        #[expect(clippy::indexing_slicing, reason = "a byte is below 256")]
        {
            classes[byte as usize] = class;
        }
        if byte == u8::MAX {
            break classes;
        }
        byte += 1;
    }
};

/// The path with every segment that is an identifier replaced by `:id`.
///
/// # Errors
/// Where there are more of them than in the path of any service.
pub(super) fn replace_identifiers(path: Cow<'_, str>) -> Result<String, TooMuch> {
    let mut label = String::new();
    let mut replaced = 0;
    let mut kept = 0;
    let mut start = 0;
    for segment in path.as_bytes().split(|byte| *byte == b'/') {
        let end = start + segment.len();
        if is_identifier(segment) {
            replaced += 1;
            if replaced > MAX_IDENTIFIERS {
                return Err(TooMuch);
            }
            label.push_str(path.get(kept..start).unwrap_or_default());
            label.push_str(ID);
            kept = end;
        }
        start = end + 1;
    }
    if kept == 0 {
        return Ok(path.into_owned());
    }
    label.push_str(path.get(kept..).unwrap_or_default());
    Ok(label)
}

fn is_identifier(segment: &[u8]) -> bool {
    let Some(first) = segment.first() else {
        return false;
    };
    let mut all = u8::MAX;
    let mut has_digit = 0;
    for byte in segment {
        let class = CLASSES.get(usize::from(*byte)).copied().unwrap_or(0);
        all &= class;
        if all == 0 {
            return false;
        }
        has_digit |= class;
    }
    let has_digit = has_digit & class::DIGIT != 0;
    if all & class::DIGIT != 0 {
        return true;
    }
    // A word such as `deadbeef` is no identifier: it needs the length and a digit.
    (all & class::HEX != 0 && segment.len() >= LONG_HEX && has_digit)
        // 26 characters of Crockford's base 32, the first at most 7.
        || (all & class::BASE32 != 0 && segment.len() == 26 && (b'0'..=b'7').contains(first))
        || (all & class::UUID != 0 && is_uuid(segment))
}

/// Of a segment of hex digits and hyphens.
fn is_uuid(segment: &[u8]) -> bool {
    segment.len() == 36
        && segment
            .iter()
            .enumerate()
            .all(|(index, byte)| matches!(index, 8 | 13 | 18 | 23) == (*byte == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_uuids_long_hex_and_ulids_become_id() {
        for (path, label) in [
            ("/a/42", "/a/:id"),
            ("/42/a/7/", "/:id/a/:id/"),
            ("/a/0190163d-8694-739b-aea5-966c26f8ad91", "/a/:id"),
            ("/a/0190163D-8694-739B-AEA5-966C26F8AD91/x", "/a/:id/x"),
            ("/blob/d41d8cd98f00b204e9800998ecf8427e", "/blob/:id"),
            ("/a/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/a/:id"),
        ] {
            assert_eq!(replace_identifiers(path.into()).unwrap(), label);
        }
    }

    #[test]
    fn names_stay() {
        for path in [
            "/",
            "//",
            "/api/v1/content",
            "/a/42a",
            "/a/-1",
            "/deadbeefdeadbeef",
            "/abc123",
            "/a/0190163d-8694-739b-aea5-966c26f8ad9",
            "/a/81ARZ3NDEKTSV4RRFFQ69G5FAV",
            "/a/01ARZ3NDEKTSV4RRFFQ69G5FAU",
        ] {
            assert_eq!(replace_identifiers(path.into()).unwrap(), path);
        }
    }

    #[test]
    fn a_path_of_more_identifiers_than_any_service_has_is_refused() {
        let path = |identifiers| Cow::from("/1".repeat(identifiers));
        assert_eq!(replace_identifiers(path(64)), Ok("/:id".repeat(64)));
        assert_eq!(replace_identifiers(path(65)), Err(TooMuch));
    }
}
