//! Which whole segments of a path are identifiers, not names: numbers, UUIDs
//! (RFC 9562), long hexadecimal strings and ULIDs.
//!
//! A guess, made only where no route templates are configured. It is no bound
//! on the number of labels; admission and the cap are.

/// What stands in the place of an identifier.
const ID: &str = ":id";

/// From this length on, a segment of hex digits is an identifier.
const LONG_HEX: usize = 16;

/// The path with every segment that is an identifier replaced by `:id`.
pub(super) fn replace_identifiers(path: &str) -> String {
    let mut label = String::with_capacity(path.len());
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            label.push('/');
        }
        label.push_str(if is_identifier(segment.as_bytes()) {
            ID
        } else {
            segment
        });
    }
    label
}

fn is_identifier(segment: &[u8]) -> bool {
    is_number(segment) || is_uuid(segment) || is_long_hex(segment) || is_ulid(segment)
}

fn is_number(segment: &[u8]) -> bool {
    !segment.is_empty() && segment.iter().all(u8::is_ascii_digit)
}

fn is_uuid(segment: &[u8]) -> bool {
    segment.len() == 36
        && segment.iter().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// A word such as `deadbeef` is no identifier: it needs the length and a digit.
fn is_long_hex(segment: &[u8]) -> bool {
    segment.len() >= LONG_HEX
        && segment.iter().all(u8::is_ascii_hexdigit)
        && segment.iter().any(u8::is_ascii_digit)
}

/// 26 characters of Crockford's base 32, the first at most 7.
fn is_ulid(segment: &[u8]) -> bool {
    segment.len() == 26
        && segment
            .first()
            .is_some_and(|byte| (b'0'..=b'7').contains(byte))
        && segment.iter().all(|byte| {
            byte.is_ascii_alphanumeric()
                && !matches!(byte.to_ascii_uppercase(), b'I' | b'L' | b'O' | b'U')
        })
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
            assert_eq!(replace_identifiers(path), label);
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
            assert_eq!(replace_identifiers(path), path);
        }
    }
}
