//! The live page: what the last 15 minutes were, in memory, and told to whoever
//! looks at `/`.
//!
//! [`Live::observe`] takes what any scrape has read, [`Live::sample`] reads where
//! no scrape did so lately, so there is a past before anybody looks. A moment is
//! at least four fifths of the interval long; what is read sooner is left out,
//! its numbers are in the next. A failed read of a scrape is left out too, since
//! its caller may have had no patience: only the sampler's says that Envoy is
//! away.
//!
//! # Layout
//! In the order of the data path:
//! - `point`: a reading to totals
//! - `baseline`: totals to what came since
//! - `ring`, `service`: the moments, and which routes have a row
//! - `quantile`: the percentiles
//! - `wire`, `events`: what a listener is sent
//! - `assets`: the page itself
//!
//! # Memory
//! With the default interval of 5 s and one Envoy the ring holds at most
//! [`MOST_BYTES`], 19 MB, whatever comes: 226 moments of 16 services of 21 routes with 40
//! bounds, all busy all the time. With the usual 11 bounds that is 9 MB; four
//! services with ten routes at work take about 1 MB.

mod assets;
mod baseline;
mod events;
mod point;
mod quantile;
mod ring;
mod service;
mod wire;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::Router;
use tokio::{
    sync::{Semaphore, watch},
    time::sleep_until,
};
use tokio_util::sync::CancellationToken;

use self::{
    point::Totals,
    ring::{At, Read, Ring, Unread},
};
use crate::{
    admin::ReadError,
    background,
    families::{EnvoyState, Reading},
};

/// Most bytes of the ring with the default interval and one Envoy.
pub const MOST_BYTES: usize = 19_000_000;

/// Time between two moments unless it is configured.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);

/// Pages that may be open at once.
pub const MOST_LISTENERS: usize = 32;

/// One Envoy, and what was read of it or why nothing was.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its name where it has one.
    pub envoy: Option<Arc<str>>,
    /// What it says.
    pub reading: Result<Arc<Reading>, ReadError>,
}

/// What the live page shows; clones share it.
#[derive(Clone, Debug)]
pub struct Live(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    interval: Duration,
    start: Instant,
    memory: Mutex<Memory>,
    /// Rises with each moment.
    version: watch::Sender<u64>,
    listeners: Arc<Semaphore>,
}

#[derive(Debug)]
struct Memory {
    ring: Ring,
    /// When the last moment was, or will have been once it is taken in.
    last: Option<Duration>,
    /// The state as JSON, made when the first listener needs it.
    state: Option<Arc<str>>,
}

impl Live {
    /// Nothing seen yet; `interval` is the time between two moments.
    pub fn new(interval: Duration) -> Self {
        Self(Arc::new(Shared {
            interval,
            start: Instant::now(),
            memory: Mutex::new(Memory {
                ring: Ring::new(shortest(interval)),
                last: None,
                state: None,
            }),
            version: watch::Sender::new(0),
            listeners: Arc::new(Semaphore::new(MOST_LISTENERS)),
        }))
    }

    /// The page, its files and its events; streams end with `shutdown`.
    pub fn router(&self, shutdown: CancellationToken) -> Router {
        assets::router().merge(events::router(self.clone(), shutdown))
    }

    /// Takes in what a scrape read of all Envoys, in the background and if it is
    /// time for a moment.
    pub fn observe(&self, envoys: Vec<Seen>) {
        let now = Instant::now();
        if envoys.iter().all(|seen| seen.reading.is_ok()) && self.claim(now) {
            let live = self.clone();
            drop(background::make(move || live.record(now, envoys)));
        }
    }

    /// Reads all Envoys with `read` whenever an interval has gone by without a
    /// moment, until the runtime ends.
    pub async fn sample<F>(self, read: impl Fn() -> F)
    where
        F: Future<Output = Vec<Seen>>,
    {
        loop {
            let due = self.memory().last.map(|last| last + self.0.interval);
            let due = self.0.start + due.unwrap_or_default();
            if due > Instant::now() {
                sleep_until(due.into()).await;
                continue;
            }
            let envoys = read().await;
            let now = Instant::now();
            if self.claim(now) {
                let live = self.clone();
                // A panic in there is on the log, and costs this moment only.
                let _ = background::make(move || live.record(now, envoys)).await;
            }
        }
    }

    /// Whether it is time for a moment; if so, it is the caller's to take in.
    fn claim(&self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.0.start);
        let mut memory = self.memory();
        let is_due = memory
            .last
            .is_none_or(|last| elapsed.saturating_sub(last) >= shortest(self.0.interval));
        if is_due {
            memory.last = Some(elapsed);
        }
        is_due
    }

    fn record(&self, now: Instant, envoys: Vec<Seen>) {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        let at = At {
            elapsed: now.saturating_duration_since(self.0.start),
            unix_ms: since_1970.map_or(0, |time| {
                u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
            }),
        };
        let hashes = self.memory().ring.hashes().clone();
        let reads = envoys.into_iter().map(|seen| Read {
            name: seen.envoy,
            about: (seen.reading.as_ref())
                .map_or_else(|_| EnvoyState::default(), |reading| reading.envoy.clone()),
            totals: match &seen.reading {
                Ok(reading) => Ok(Totals::new(reading, &hashes)),
                Err(error) => Err(Unread {
                    reason: error.reason(),
                    text: error.to_string(),
                }),
            },
        });
        let reads = reads.collect();
        let mut memory = self.memory();
        memory.ring.observe(at, reads);
        memory.state = None;
        drop(memory);
        self.0.version.send_modify(|version| *version += 1);
    }

    /// The state as JSON.
    fn state(&self, memory: &mut Memory) -> Arc<str> {
        let make = |ring: &Ring| {
            let envoys = ring.envoys.len().max(1);
            let worst = ring::worst_bytes(shortest(self.0.interval), envoys);
            wire::state(ring, self.0.interval, worst, MOST_LISTENERS).into()
        };
        let state = memory.state.take().unwrap_or_else(|| make(&memory.ring));
        memory.state = Some(Arc::clone(&state));
        state
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Whoever panicked in there would have left the moments as they were.
        self.0.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shortest time between two moments.
fn shortest(interval: Duration) -> Duration {
    interval * 4 / 5
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of `docs/live-page.md`, in millions of bytes.
    #[test]
    fn the_documentation_says_how_much_memory_it_takes() {
        const DOCUMENT: &str = include_str!("../../docs/live-page.md");
        let most = |envoys| ring::worst_bytes(shortest(DEFAULT_INTERVAL), envoys);
        assert!(most(1) <= MOST_BYTES);
        assert!(DOCUMENT.contains(&format!("at most {} MB", MOST_BYTES / 1_000_000)));
        let further = most(2) - most(1);
        assert!(further <= 1_100_000, "{further}");
        assert!(DOCUMENT.contains("adds at most 1.1 MB"));
        for (what, number) in [
            ("services", ring::MAX_SERVICES),
            ("routes of a service", ring::MAX_ROUTES),
            ("caches of a service", ring::MAX_CACHES),
            ("name of a route", point::MAX_NAME_BYTES),
            ("bounds of a histogram", gatemeter_core::buckets::MAX_BOUNDS),
            ("pages open at once", MOST_LISTENERS),
        ] {
            let row = format!("| {what} | {number} ");
            assert!(DOCUMENT.contains(&row), "no row {row}");
        }
    }

    /// A moment for every interval, however often is scraped.
    #[test]
    fn takes_a_moment_at_most_every_four_fifths_of_an_interval() {
        let live = Live::new(DEFAULT_INTERVAL);
        let start = live.0.start;
        let claimed =
            (0..100_u32).filter(|tenth| live.claim(start + *tenth * DEFAULT_INTERVAL / 10));
        assert_eq!(
            claimed.collect::<Vec<_>>(),
            [0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96]
        );
    }

    #[tokio::test]
    async fn takes_in_what_a_scrape_read_and_nothing_where_it_failed() {
        let live = Live::new(DEFAULT_INTERVAL);
        let mut version = live.0.version.subscribe();
        let reading = Arc::new(Reading::of(b"", &Default::default()));
        let seen = |reading| Seen {
            envoy: None,
            reading,
        };
        live.observe(vec![
            seen(Ok(Arc::clone(&reading))),
            seen(Err(ReadError::Timeout)),
        ]);
        assert_eq!(live.memory().last, None);
        live.observe(vec![seen(Ok(reading))]);
        version.changed().await.unwrap();
        assert_eq!(live.memory().ring.moments_from(0).count(), 1);
    }
}
