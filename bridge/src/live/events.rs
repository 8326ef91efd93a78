//! `/live/events`: the ring and then each moment, as server-sent events (HTML
//! Living Standard, section 9.2).
//!
//! - `restart`: forget all moments
//! - `points`: a list of moments, oldest first
//! - `state`: everything else, after the moments it belongs to
//!
//! A listener keeps the number of the moment that it has to be sent next and
//! nothing else, so a slow one costs no memory: it is sent the latest state, and
//! moments that have left the ring meanwhile are not sent at all. At most
//! [`MOST_LISTENERS`](super::MOST_LISTENERS) listen at once; one more is told to
//! come again with 503. Every stream ends when the bridge does.

use std::{convert::Infallible, time::Duration};

use axum::{
    Router,
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::get,
};
use futures_util::{StreamExt as _, stream};
use http::{HeaderValue, StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use super::{Live, wire};

/// Moments of one event.
const MOST_AT_ONCE: usize = 15;

/// After so long without an event comes a comment, so that what lies between
/// keeps the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// After so long a browser tries again.
const RETRY: Duration = Duration::from_secs(2);

pub(super) fn router(live: Live, shutdown: CancellationToken) -> Router {
    Router::new()
        .route("/live/events", get(events))
        .with_state((live, shutdown))
}

async fn events(State((live, shutdown)): State<(Live, CancellationToken)>) -> Response {
    let Ok(permit) = live.0.listeners.clone().try_acquire_owned() else {
        let mut response = Response::new("too many pages are open\n".into());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
        return response;
    };
    let listener = Listener {
        version: live.0.version.subscribe(),
        live,
        generation: None,
        next: 0,
        is_told: false,
        _permit: permit,
    };
    let events = stream::unfold(listener, |mut listener| async {
        let event = listener.next().await?;
        Some((Ok::<_, Infallible>(event), listener))
    });
    Sse::new(events.take_until(shutdown.cancelled_owned()))
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response()
}

struct Listener {
    live: Live,
    version: watch::Receiver<u64>,
    /// The ring's when it was last told of; `None`: never.
    generation: Option<u64>,
    /// The moment to send next.
    next: u64,
    /// Whether the state of this version was sent.
    is_told: bool,
    _permit: OwnedSemaphorePermit,
}

impl Listener {
    /// The next event; `None` where there will be none.
    async fn next(&mut self) -> Option<Event> {
        if self.is_told {
            self.version.changed().await.ok()?;
            self.is_told = false;
        }
        // What is told below includes this version, or a later one.
        self.version.mark_unchanged();
        let live = self.live.clone();
        let mut memory = live.memory();
        let generation = memory.ring.generation();
        if self.generation != Some(generation) {
            self.generation = Some(generation);
            self.next = 0;
            return Some(Event::default().event("restart").retry(RETRY).data(""));
        }
        let mut points = Vec::new();
        for (number, moment) in memory.ring.moments_from(self.next).take(MOST_AT_ONCE) {
            points.push(wire::point(&memory.ring, moment));
            self.next = number + 1;
        }
        if !points.is_empty() {
            let points = format!("[{}]", points.join(","));
            return Some(Event::default().event("points").data(points));
        }
        self.is_told = true;
        let state = live.state(&mut memory);
        Some(Event::default().event("state").data(&*state))
    }
}
