//! Text of a page in pieces, written into buffers that are used again.
//!
//! A page of megabytes in one would have to be found room for at every scrape.
//! The buffers of pages that are done are kept for the next ones, up to
//! [`MOST_KEPT`]: what an allocator gives back to the system it has to ask for
//! again, page by page, at the next scrape.

use std::{
    mem,
    ops::Deref,
    sync::{Mutex, PoisonError},
};

/// Room of a buffer, in bytes.
pub(crate) const LENGTH: usize = 256 << 10;

/// Room that is left when a piece is done: enough for a series with as many
/// buckets as a filter may have.
const SPARE: usize = 12 << 10;

/// Buffers that wait for the next page: 4 MiB, the page of 35,000 stats.
const MOST_KEPT: usize = 16;

static KEPT: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// One piece; its buffer is used again when it is dropped.
#[derive(Debug)]
pub struct Piece(String);

/// Writes pieces one after the other.
#[derive(Debug)]
pub(crate) struct Pieces {
    done: Vec<Piece>,
    text: Piece,
}

impl Pieces {
    pub(crate) fn new() -> Self {
        Self {
            done: Vec::new(),
            text: Piece::empty(),
        }
    }

    /// Where to write on.
    pub(crate) const fn text(&mut self) -> &mut String {
        &mut self.text.0
    }

    /// Whether nothing has been written.
    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.done.is_empty()
    }

    /// What is written is a piece if there is little room left. To be called
    /// between two series.
    pub(crate) fn may_end(&mut self) {
        if self.text.len() > LENGTH - SPARE {
            let piece = mem::replace(&mut self.text, Piece::empty());
            self.done.push(piece);
        }
    }

    /// All of them.
    pub(crate) fn end(mut self) -> Vec<Piece> {
        // The last is as short as the page will have it, and takes no more room.
        if self.text.len() > LENGTH / 2 {
            self.done.push(self.text);
        } else if !self.text.is_empty() {
            self.done.push(Piece(self.text.0.as_str().to_owned()));
        }
        self.done
    }
}

impl Piece {
    fn empty() -> Self {
        // No code between lock and unlock can leave the list half changed.
        let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self(kept.unwrap_or_else(|| String::with_capacity(LENGTH)))
    }
}

impl Deref for Piece {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut buffer = mem::take(&mut self.0);
        if buffer.capacity() == LENGTH {
            buffer.clear();
            let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() < MOST_KEPT {
                kept.push(buffer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_hold_what_was_written_and_none_is_larger_than_its_buffer() {
        let line = "x".repeat(SPARE / 3);
        let mut pieces = Pieces::new();
        assert!(pieces.is_empty());
        for _ in 0..200 {
            pieces.text().push_str(&line);
            assert!(!pieces.is_empty());
            pieces.may_end();
        }
        let pieces = pieces.end();
        let (last, others) = pieces.split_last().unwrap();
        assert_eq!(others.len() + 1, (200 * line.len()).div_ceil(LENGTH));
        assert!(others.iter().all(|piece| piece.0.capacity() == LENGTH));
        assert!(last.0.capacity() < LENGTH);
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        assert_eq!(length, 200 * line.len());
    }

    #[test]
    fn keeps_a_bounded_number_of_empty_buffers() {
        let pieces: Vec<_> = (0..2 * MOST_KEPT).map(|_| Piece::empty()).collect();
        drop(pieces);
        let kept = KEPT.lock().unwrap();
        assert!(kept.len() <= MOST_KEPT);
        assert!(kept.iter().all(String::is_empty));
    }
}
