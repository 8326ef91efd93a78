//! One Envoy's counters as they were last seen, and how much they rose since.
//!
//! Counters only rise, so one that fell says that Envoy began again: then all
//! of that Envoy begins again from 0, as Prometheus reads it too. What is new in
//! an Envoy that was read before began at 0. What an Envoy says when it is read
//! for the first time is where it begins, and no increase.
//!
//! All of a service is remembered as one sum, and by route only those that have
//! a row; of the others two numbers, so that a route which becomes busy is seen.
//! Their increase is the service's less that of the rows, so nothing is lost.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    point::{Counts, ServiceTotals, Totals},
    service::Service,
};

/// Routes of a service that are watched in case they become busy.
pub(super) const MAX_WATCHED: usize = 896;

/// What was last read of one Envoy.
#[derive(Debug, Default)]
pub(super) struct Baseline {
    uptime_seconds: Option<u64>,
    pub(super) services: BTreeMap<Arc<str>, ServiceBaseline>,
}

/// What was last read of a service.
#[derive(Debug, Default)]
pub(super) struct ServiceBaseline {
    pub(super) bounds: Arc<[u64]>,
    sum: Counts,
    /// Those with a row, all of their counts.
    rows: HashMap<u64, Counts>,
    /// Requests and those with an error of every route, while there is room.
    watched: HashMap<u64, [u64; 2]>,
    caches: BTreeMap<Box<str>, [u64; 2]>,
}

impl Baseline {
    /// Whether this Envoy began again since. Only what is there both times is
    /// compared: a series may be left out for a while.
    pub(super) fn began_again(&self, now: &Totals, uptime_seconds: Option<u64>) -> bool {
        let is_younger = self
            .uptime_seconds
            .zip(uptime_seconds)
            .is_some_and(|(before, now)| now < before);
        is_younger
            || self.services.iter().any(|(name, before)| {
                let now = now.services.get(name);
                now.is_some_and(|now| before.fell(now))
            })
    }

    /// Keeps what `now` says of these services, of the routes with a row all.
    pub(super) fn keep(&mut self, now: &Totals, uptime_seconds: Option<u64>, shown: &[Service]) {
        self.uptime_seconds = uptime_seconds;
        for service in shown {
            if let Some(totals) = now.services.get(&service.name) {
                let name = Arc::clone(&service.name);
                let baseline = self.services.entry(name).or_default();
                baseline.keep(totals, |key| service.has_row(key));
            }
        }
    }
}

impl ServiceBaseline {
    fn fell(&self, now: &ServiceTotals) -> bool {
        let route_fell = now.routes.iter().any(|(key, route)| {
            let before = self.watched.get(key);
            before.is_some_and(|before| route.counts.requests() < before[0])
        });
        let cache_fell = now.caches.iter().any(|(name, [hits, misses])| {
            let before = self.caches.get(name);
            before.is_some_and(|before| *hits < before[0] || *misses < before[1])
        });
        route_fell || cache_fell
    }

    fn keep(&mut self, now: &ServiceTotals, has_row: impl Fn(u64) -> bool) {
        self.sum = self.with_absent(now);
        self.bounds = Arc::clone(&now.bounds);
        self.rows.retain(|key, _| has_row(*key));
        for (key, route) in &now.routes {
            if has_row(*key) {
                self.rows.insert(*key, route.counts.clone());
            }
            if self.watched.len() < MAX_WATCHED || self.watched.contains_key(key) {
                let counts = [route.counts.requests(), route.counts.errors()];
                self.watched.insert(*key, counts);
            }
        }
        self.caches.clone_from(&now.caches);
    }

    /// Increase of the whole service; of the bins none where the bounds changed.
    pub(super) fn rise(&self, now: &ServiceTotals) -> Counts {
        rise(&self.sum, &self.with_absent(now), self.has_bounds_of(now))
    }

    /// The sum of now, with what rows had that are left out now: a series that
    /// comes back is no new traffic.
    fn with_absent(&self, now: &ServiceTotals) -> Counts {
        let mut sum = now.sum.clone();
        for (key, counts) in &self.rows {
            if !now.routes.contains_key(key) {
                sum.add(counts);
            }
        }
        sum
    }

    /// Increase of a route; `None` where what it was is not known.
    pub(super) fn rise_of(&self, key: u64, now: &ServiceTotals) -> Option<Counts> {
        let counts = &now.routes.get(&key)?.counts;
        match self.rows.get(&key) {
            Some(before) => Some(rise(before, counts, self.has_bounds_of(now))),
            None if self.is_new(key) => Some(counts.clone()),
            None => None,
        }
    }

    /// Requests and errors that came on a watched route.
    pub(super) fn rise_of_watched(&self, key: u64, now: &ServiceTotals) -> [u64; 2] {
        let Some(route) = now.routes.get(&key) else {
            return [0; 2];
        };
        let counts = [route.counts.requests(), route.counts.errors()];
        match self.watched.get(&key) {
            Some(before) => [
                counts[0].saturating_sub(before[0]),
                counts[1].saturating_sub(before[1]),
            ],
            None if self.is_new(key) => counts,
            None => [0; 2],
        }
    }

    /// Increase of hits and misses by cache.
    pub(super) fn rise_of_caches<'n>(
        &self,
        now: &'n ServiceTotals,
    ) -> impl Iterator<Item = (&'n str, [u64; 2])> {
        now.caches.iter().map(|(name, [hits, misses])| {
            let before = self.caches.get(name).copied().unwrap_or_default();
            let rise = [
                hits.saturating_sub(before[0]),
                misses.saturating_sub(before[1]),
            ];
            (name.as_ref(), rise)
        })
    }

    fn is_new(&self, key: u64) -> bool {
        self.watched.len() < MAX_WATCHED && !self.watched.contains_key(&key)
    }

    /// Bins of other bounds cannot be compared; nothing before has any bounds.
    fn has_bounds_of(&self, now: &ServiceTotals) -> bool {
        self.bounds.is_empty() || self.bounds == now.bounds
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        let rows: usize = self.rows.values().map(bytes_of).sum();
        table_bytes::<(u64, Counts)>(self.rows.capacity())
            + rows
            + table_bytes::<(u64, [u64; 2])>(self.watched.capacity())
            + bytes_of(&self.sum)
            + self
                .caches
                .keys()
                .map(|name| name.len() + 64)
                .sum::<usize>()
    }
}

fn bytes_of(counts: &Counts) -> usize {
    counts.bins.capacity() * size_of::<u64>()
}

/// Bytes of a hash table: an eighth of its places is always free, their number
/// is a power of two, and each has a byte beside what it holds.
pub(super) fn table_bytes<T>(capacity: usize) -> usize {
    (capacity * 8 / 7).next_power_of_two() * (size_of::<T>() + 1)
}

fn rise(before: &Counts, now: &Counts, has_same_bounds: bool) -> Counts {
    let mut rise = now.clone();
    for (now, before) in rise.classes.iter_mut().zip(before.classes) {
        *now = now.saturating_sub(before);
    }
    if !has_same_bounds {
        rise.bins.clear();
    }
    for (now, before) in rise.bins.iter_mut().zip(&before.bins) {
        *now = now.saturating_sub(*before);
    }
    rise
}
