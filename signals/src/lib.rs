//! What a Rust service behind the proxy knows, said in standard response headers.
//!
//! | the handler says | header | standard |
//! |---|---|---|
//! | [`Signals::cache`] | `Cache-Status: redis;hit` | RFC 9211, a list of RFC 9651 |
//! | [`Signals::time`], [`Signals::timed`] | `Server-Timing: search;dur=12.345` | W3C Server Timing, milliseconds |
//! | [`Signals::pool`], [`SignalsLayer::pool`] | `X-Db-Pool: active=15, idle=25` | a dictionary of RFC 9651 |
//! | [`Signals::results`] | `X-Search-Results: 20` | an integer of RFC 9651 |
//!
//! The proxy makes metrics of them; the service keeps no metric, no registry and
//! no `/metrics` page.
//!
//! # Example
//!
//! ```
//! use axum::{Extension, Router, routing::get};
//! use gatemeter_signals::{Pool, Signals, SignalsLayer};
//!
//! async fn search(Extension(signals): Extension<Signals>) -> &'static str {
//!     signals.cache("redis").miss();
//!     let found = signals.timed("vectordb", async { ["a title"] }).await;
//!     signals.results(found.len());
//!     "[\"a title\"]"
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let app: Router = Router::new()
//!     .route("/search", get(search))
//!     .layer(SignalsLayer::new().pool(|| Pool { active: 15, idle: 25 }));
//! # use axum::{body::Body, http::Request};
//! # use tower::ServiceExt;
//! # let response = app.oneshot(Request::get("/search").body(Body::empty()).unwrap()).await.unwrap();
//! # assert_eq!(response.headers()["cache-status"], "redis;fwd=miss");
//! # assert_eq!(response.headers()["x-db-pool"], "active=15, idle=25");
//! # assert_eq!(response.headers()["x-search-results"], "1");
//! # assert!(response.headers()["server-timing"].to_str().unwrap().starts_with("vectordb;dur="));
//! # }
//! ```
//!
//! `examples/axum.rs` is a whole service; `examples/actix.rs` is one on
//! actix-web 4, whose middleware is ten lines.
//!
//! # Layout
//!
//! - this file: [`Signals`], the recorder of one request
//! - `cache`: a member of `Cache-Status`
//! - `timing`: an entry of `Server-Timing`
//! - `room`: how much a response may say
//! - `layer`: the [`tower`](https://docs.rs/tower) layer that gives each request
//!   its recorder and writes the headers
//!
//! # Invariants
//!
//! - Nothing here fails a request: no panic, no error. What is no valid part of
//!   its header (a timing whose name is no token, a cache whose name is not
//!   printable ASCII or longer than 64 bytes) is left out.
//! - A response says no more than the proxy reads, which is 1024 bytes and 64
//!   parts; what is left out then is what was said last.
//! - A header with nothing to say is not sent.
//!
//! # Decisions
//!
//! **A request extension, not a task-local.** Each handler that says something
//! names the recorder among its arguments. A clone goes into spawned tasks and
//! blocking threads, where a task-local is gone; every framework on `http`
//! requests and actix-web have extensions, so this crate depends on none of them;
//! and where the layer is missing, axum and actix-web answer 500 instead of
//! saying nothing.

mod cache;
mod layer;
mod room;
mod timing;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use sfv::{DictSerializer, Integer, ItemSerializer, KeyRef, key_ref};

pub use cache::{CacheLookup, Forward};
pub use layer::{ResponseFuture, SignalsLayer, SignalsService};
pub use timing::Timer;

use room::{Part, Room};

/// The header of RFC 9211.
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// The header of W3C Server Timing.
pub const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// The header with the state of the pool.
pub const X_DB_POOL: HeaderName = HeaderName::from_static("x-db-pool");
/// The header with the number of results of a search.
pub const X_SEARCH_RESULTS: HeaderName = HeaderName::from_static("x-search-results");

const ACTIVE: &KeyRef = key_ref("active");
const IDLE: &KeyRef = key_ref("idle");

/// The most members of `Cache-Status` and the most entries of `Server-Timing`
/// that are kept for a response: no more could be said.
const KEPT: usize = room::PARTS;

/// How a pool of database connections stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Connections in use. Mind that the size that a pool tells of itself often
    /// counts the idle ones too.
    pub active: u64,
    /// Connections that are open and free.
    pub idle: u64,
}

/// What the service says of one request. Clones say it of the same request.
#[derive(Clone, Debug, Default)]
pub struct Signals(Arc<Mutex<Said>>);

#[derive(Debug, Default)]
struct Said {
    /// In the order in which the caches were asked; `None` while a lookup is
    /// under way.
    caches: Vec<Option<Part>>,
    timings: Vec<Part>,
    pool: Option<Pool>,
    results: Option<u64>,
}

impl Signals {
    /// Says nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A lookup in the cache `name` begins; call this before the cache is asked.
    ///
    /// Where a cache that misses asks another, which is nearer to the origin,
    /// the header shows them as RFC 9211 §2 wants it, the origin's side first:
    /// in the reverse of the order of these calls.
    ///
    /// ```
    /// let signals = gatemeter_signals::Signals::new();
    /// let memory = signals.cache("memory");
    /// let redis = signals.cache("redis");
    /// redis.ttl(30).hit();
    /// memory.miss();
    /// assert_eq!(
    ///     signals.headers(),
    ///     [("cache-status", "redis;hit;ttl=30, memory;fwd=miss".to_owned())]
    /// );
    /// ```
    pub fn cache(&self, name: &str) -> CacheLookup {
        let slot = self.with(|said| {
            let slot = said.caches.len();
            (slot < KEPT).then(|| {
                said.caches.push(None);
                slot
            })
        });
        CacheLookup::new(self.clone(), slot, name)
    }

    /// Times what is done until the guard is dropped, or [`Timer::stop`].
    ///
    /// ```
    /// let signals = gatemeter_signals::Signals::new();
    /// {
    ///     let _timer = signals.time("vectordb");
    ///     // The search.
    /// }
    /// let headers = signals.headers();
    /// assert!(headers[0].1.starts_with("vectordb;dur=0."));
    /// ```
    #[must_use = "the time ends when the guard is dropped"]
    pub fn time(&self, name: &'static str) -> Timer {
        Timer::start(self.clone(), name)
    }

    /// Times a future, from its first poll to its end. One that is dropped
    /// before its end is not told.
    pub async fn timed<F: Future>(&self, name: &'static str, future: F) -> F::Output {
        let start = Instant::now();
        let output = future.await;
        self.took(name, start.elapsed());
        output
    }

    /// Something took so long; shown to the microsecond.
    pub fn took(&self, name: &'static str, duration: Duration) {
        if let Some(entry) = timing::entry(name, duration) {
            self.with(|said| {
                if said.timings.len() < KEPT {
                    said.timings.push(entry);
                }
            });
        }
    }

    /// The pool stands so; the last one told counts.
    pub fn pool(&self, pool: Pool) {
        self.with(|said| said.pool = Some(pool));
    }

    /// A search found so many; the last one told counts.
    pub fn results(&self, results: usize) {
        self.with(|said| said.results = Some(results as u64));
    }

    /// The headers of the response, for frameworks whose responses are not of
    /// the crate `http` 1: lower-case names, values of visible ASCII and spaces.
    #[must_use]
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let headers = self.within(Room::default());
        headers
            .into_iter()
            .map(|(header, value)| (header.name(), value))
            .collect()
    }

    /// Writes the headers of the response. Members that another cache or timer
    /// has said stay, and ours follow them; a pool and a number of results
    /// replace what is there.
    pub fn write_to(&self, headers: &mut HeaderMap) {
        let theirs = [CACHE_STATUS, SERVER_TIMING, X_DB_POOL, X_SEARCH_RESULTS];
        let lines = theirs.iter().flat_map(|name| headers.get_all(name));
        let room = Room::beside(lines.map(HeaderValue::as_bytes));
        for (header, value) in self.within(room) {
            // Serialized structured fields and tokens are always a header value.
            let Ok(value) = HeaderValue::try_from(value) else {
                continue;
            };
            match header {
                Header::CacheStatus => _ = headers.append(CACHE_STATUS, value),
                Header::ServerTiming => _ = headers.append(SERVER_TIMING, value),
                Header::Pool => _ = headers.insert(X_DB_POOL, value),
                Header::Results => _ = headers.insert(X_SEARCH_RESULTS, value),
            }
        }
    }

    /// What there is room for: first the two single values, then the lists.
    fn within(&self, mut room: Room) -> Vec<(Header, String)> {
        self.with(|said| {
            let pool = said.pool.map(pool_value);
            let results = said.results.map(|results| Part {
                text: ItemSerializer::new().bare_item(integer(results)).finish(),
                parts: 1,
            });
            let mut headers = Vec::new();
            for (header, part) in [(Header::Pool, pool), (Header::Results, results)] {
                let taken = room.line(part.as_slice());
                headers.extend(taken.first().map(|part| (header, part.text.clone())));
            }
            let mut caches = room.line(said.caches.iter().flatten());
            caches.reverse();
            let timings = room.line(&said.timings);
            for (header, parts) in [
                (Header::CacheStatus, caches),
                (Header::ServerTiming, timings),
            ] {
                if !parts.is_empty() {
                    let texts: Vec<_> = parts.iter().map(|part| part.text.as_str()).collect();
                    headers.push((header, texts.join(room::BETWEEN)));
                }
            }
            headers
        })
    }

    fn told(&self, slot: usize, member: Part) {
        self.with(|said| {
            if let Some(place) = said.caches.get_mut(slot) {
                *place = Some(member);
            }
        });
    }

    /// No call under the lock can panic, and a half-done one would still be sound.
    fn with<T>(&self, change: impl FnOnce(&mut Said) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Clone, Copy, Debug)]
enum Header {
    CacheStatus,
    ServerTiming,
    Pool,
    Results,
}

impl Header {
    const fn name(self) -> &'static str {
        match self {
            Self::CacheStatus => "cache-status",
            Self::ServerTiming => "server-timing",
            Self::Pool => "x-db-pool",
            Self::Results => "x-search-results",
        }
    }
}

fn pool_value(pool: Pool) -> Part {
    let mut dictionary = DictSerializer::new();
    _ = dictionary.bare_item(ACTIVE, integer(pool.active));
    _ = dictionary.bare_item(IDLE, integer(pool.idle));
    Part {
        text: dictionary.finish().unwrap_or_default(),
        parts: 2,
    }
}

/// The integers of RFC 9651 have fifteen digits; a larger one is their largest.
fn integer(value: u64) -> Integer {
    Integer::try_from(value).unwrap_or(Integer::MAX)
}

#[cfg(test)]
mod tests;
