//! A stream that gives up a reader who takes nothing, early where somebody
//! waits for what that reader holds.

use std::{
    future::Future as _,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use crate::room::Crowd;

/// `stream`, whose writes fail once nothing of them has been taken for too long.
pub(super) struct Patient<S> {
    stream: S,
    crowd: Crowd,
    patience: Duration,
    /// Since when nothing has been taken, and when to look again.
    stalled: Option<(Instant, Pin<Box<Sleep>>)>,
}

/// Patience where somebody waits. Whoever takes an answer takes the next bytes
/// of it long before.
const CROWDED: Duration = Duration::from_millis(250);

impl<S> Patient<S> {
    pub(super) fn new(stream: S, patience: Duration, crowd: Crowd) -> Self {
        Self {
            stream,
            crowd,
            patience,
            stalled: None,
        }
    }

    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if write.is_ready() {
            self.stalled = None;
            return write;
        }
        let look_again = CROWDED.min(self.patience);
        let (since, timer) = self
            .stalled
            .get_or_insert_with(|| (Instant::now(), Box::pin(sleep(look_again))));
        loop {
            ready!(timer.as_mut().poll(cx));
            let stalled = since.elapsed();
            if stalled >= self.patience || (stalled >= CROWDED && self.crowd.is_waiting()) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            timer.as_mut().reset(Instant::now() + look_again);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, write)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flush = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shutdown = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(cx, shutdown)
    }
}
