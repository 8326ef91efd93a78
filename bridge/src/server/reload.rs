//! Asks for a reload of the configuration, and the answer to POST /-/reload.

use axum::response::Response;
use http::StatusCode;
use tokio::sync::{mpsc, oneshot};

/// Asks for reloads; clones share one line.
#[derive(Clone, Debug)]
pub struct Reloader(mpsc::Sender<Ask>);

/// Somebody who waits for a reload.
#[derive(Debug)]
pub(crate) struct Ask(oneshot::Sender<Reloaded>);

/// How a reload went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// The new configuration is in service.
    Done,
    /// The old one goes on; the log says why.
    Refused,
}

impl Reloader {
    /// A line of those who ask, and its other end.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Ask>) {
        let (asks, receiver) = mpsc::channel(MOST_WAITING);
        (Self(asks), receiver)
    }

    /// Waits for a reload that begins after this call.
    pub async fn reload(&self) -> Reloaded {
        let (reply, reloaded) = oneshot::channel();
        if self.0.send(Ask(reply)).await.is_err() {
            return Reloaded::Refused;
        }
        reloaded.await.unwrap_or(Reloaded::Refused)
    }
}

/// Those who may wait; more wait in line behind them.
const MOST_WAITING: usize = 16;

/// Whoever waits by now, `first` among them: one reload serves them all.
pub(crate) fn all_waiting(first: Ask, asks: &mut mpsc::Receiver<Ask>) -> Vec<Ask> {
    let mut all = vec![first];
    while let Ok(ask) = asks.try_recv() {
        all.push(ask);
    }
    all
}

impl Ask {
    pub(crate) fn answer(self, reloaded: Reloaded) {
        // Whoever has left needs no answer.
        let _ = self.0.send(reloaded);
    }
}

/// The answer to POST /-/reload; without a reloader it is not allowed.
pub(super) async fn answer(reloader: Option<Reloader>) -> Response {
    let Some(reloader) = reloader else {
        let text = "reload is off; web.enable_lifecycle turns it on\n";
        return super::text(StatusCode::FORBIDDEN, text);
    };
    match reloader.reload().await {
        Reloaded::Done => super::text(StatusCode::OK, "reloaded\n"),
        Reloaded::Refused => super::text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "refused, the old configuration goes on; the log says why\n",
        ),
    }
}
