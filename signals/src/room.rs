//! How much one response may say: as much as the proxy's filter reads.
//!
//! It reads 1024 bytes of signal headers, where each line takes 64 beside its
//! own, and 64 parts; a header that does not fit is lost whole, with everything
//! in it. So what does not fit is not sent.

/// Bytes of all signal headers of a response.
pub(crate) const BYTES: usize = 1024;
/// What a line takes of them beside its own bytes.
pub(crate) const BYTES_OF_A_LINE: usize = 64;
/// Members of lists and dictionaries and their parameters, all together.
pub(crate) const PARTS: usize = 64;
/// What stands between two members of a list.
pub(crate) const BETWEEN: &str = ", ";

/// One member of a list, or a whole value, as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) text: String,
    /// The member and its parameters.
    pub(crate) parts: usize,
}

/// What is left of the room.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    bytes: usize,
    parts: usize,
}

impl Default for Room {
    /// That of a response without signals.
    fn default() -> Self {
        Self {
            bytes: BYTES,
            parts: PARTS,
        }
    }
}

impl Room {
    /// What is left beside lines that are there already. They are not parsed:
    /// each comma and semicolon is taken for the end of a part.
    pub(crate) fn beside<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut room = Self::default();
        for line in lines {
            let ends = line.iter().filter(|byte| matches!(byte, b',' | b';'));
            room.parts = room.parts.saturating_sub(ends.count() + 1);
            room.bytes = room.bytes.saturating_sub(line.len() + BYTES_OF_A_LINE);
        }
        room
    }

    /// Takes the room for a line of as many of `parts` as fit, the first ones.
    pub(crate) fn line<'a>(&mut self, parts: impl IntoIterator<Item = &'a Part>) -> Vec<&'a Part> {
        let mut taken = Vec::new();
        for part in parts {
            let before = if taken.is_empty() {
                BYTES_OF_A_LINE
            } else {
                BETWEEN.len()
            };
            let bytes = self.bytes.checked_sub(before + part.text.len());
            let (Some(bytes), Some(parts)) = (bytes, self.parts.checked_sub(part.parts)) else {
                break;
            };
            (self.bytes, self.parts) = (bytes, parts);
            taken.push(part);
        }
        taken
    }
}
