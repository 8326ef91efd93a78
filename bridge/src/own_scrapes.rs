//! Which scrapes of the bridge are open while Envoy is read, by the service
//! whose listener they came through.
//!
//! Envoy counts a scrape of `/metrics` through a service's port among that
//! service's open exchanges. The shipped routes mark it with a header, and
//! [`Reading`](crate::families::Reading) takes the marked ones off again. A
//! mark ends with its guard, so none can be left over.
//!
//! Envoy sees a scrape begin before the bridge does, and end after it. So a
//! read takes off every scrape that was open at any moment of the read, also
//! one that arrived while Envoy was answering: it was most likely in Envoy
//! already. Where scrapers come at the same moment the result may be off by
//! those of them that are on their way between the two.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Header with the service's name that marks a scrape.
pub const SCRAPE_HEADER: &str = "x-gatemeter-scrape";

/// Names that are counted at once; a client may send any.
const MOST_SERVICES: usize = 1024;

/// Scrapes now open; clones share the count.
#[derive(Clone, Debug, Default)]
pub struct OwnScrapes(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    open: BTreeMap<String, u64>,
    /// Those that were open at any moment since the read began.
    seen: BTreeMap<String, u64>,
}

/// One open scrape; it ends when this is dropped.
#[derive(Debug)]
#[must_use]
pub struct ScrapeGuard {
    scrapes: OwnScrapes,
    service: String,
}

impl OwnScrapes {
    /// Counts a scrape until the guard is dropped; `None` where scrapes of too
    /// many services are counted already.
    pub fn open(&self, service: &str) -> Option<ScrapeGuard> {
        self.with(|counts| {
            for map in [&counts.open, &counts.seen] {
                if map.len() >= MOST_SERVICES && !map.contains_key(service) {
                    return None;
                }
            }
            for map in [&mut counts.open, &mut counts.seen] {
                *map.entry(service.to_owned()).or_default() += 1;
            }
            Some(ScrapeGuard {
                scrapes: self.clone(),
                service: service.to_owned(),
            })
        })
    }

    /// A read of Envoy begins.
    pub fn read_begins(&self) {
        self.with(|counts| counts.seen.clone_from(&counts.open));
    }

    /// Scrapes that were open at any moment since the read began, by service.
    pub fn seen(&self) -> BTreeMap<String, u64> {
        self.with(|counts| counts.seen.clone())
    }

    fn with<T>(&self, work: impl FnOnce(&mut Counts) -> T) -> T {
        // No code between lock and unlock can leave the maps half changed.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for ScrapeGuard {
    fn drop(&mut self) {
        self.scrapes.with(|counts| {
            if let Some(count) = counts.open.get_mut(&self.service) {
                *count -= 1;
                if *count == 0 {
                    counts.open.remove(&self.service);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(scrapes: &OwnScrapes, expected: &[(&str, u64)]) {
        let expected = expected.iter().map(|(s, n)| ((*s).to_owned(), *n));
        assert_eq!(scrapes.seen(), expected.collect());
    }

    #[test]
    fn a_read_sees_what_is_open_when_it_begins_and_what_opens_until_it_ends() {
        let scrapes = OwnScrapes::default();
        let ended = scrapes.open("api");
        let first = scrapes.open("api");
        drop(ended);
        scrapes.read_begins();
        seen(&scrapes, &[("api", 1)]);
        let second = scrapes.open("api");
        let other = scrapes.open("playback");
        drop(first);
        drop(other);
        seen(&scrapes, &[("api", 2), ("playback", 1)]);
        scrapes.read_begins();
        seen(&scrapes, &[("api", 1)]);
        drop(second);
        scrapes.read_begins();
        seen(&scrapes, &[]);
    }

    #[test]
    fn names_that_clients_invent_are_bounded() {
        let scrapes = OwnScrapes::default();
        let open: Vec<_> = (0..2 * MOST_SERVICES)
            .filter_map(|name| scrapes.open(&name.to_string()))
            .collect();
        assert_eq!(open.len(), MOST_SERVICES);
        assert!(scrapes.open("0").is_some());
        drop(open);
        // Names of scrapes that have ended have their room until the next read.
        assert!(scrapes.open("new").is_none());
        scrapes.read_begins();
        assert!(scrapes.open("new").is_some());
    }
}
