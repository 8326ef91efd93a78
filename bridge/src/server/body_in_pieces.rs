//! A body whose pieces other answers may share, and which keeps its room until
//! it has been handed over.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use crate::room::Kept;

pub(super) struct BodyInPieces {
    page: Kept,
    /// How many pieces have been handed over.
    done: usize,
}

impl BodyInPieces {
    pub(super) const fn new(page: Kept) -> Self {
        Self { page, done: 0 }
    }

    fn left(&self) -> &[Bytes] {
        self.page.pieces().get(self.done..).unwrap_or_default()
    }
}

impl hyper::body::Body for BodyInPieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.left().first().cloned();
        self.done += 1;
        Poll::Ready(next.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left().is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let left: usize = self.left().iter().map(Bytes::len).sum();
        SizeHint::with_exact(u64::try_from(left).unwrap_or(u64::MAX))
    }
}
