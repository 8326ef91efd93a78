//! A reading to what the page needs of it: totals since Envoy's start, by
//! service and route.
//!
//! Nothing is taken that the page does not show, and names are bounded: a route
//! whose name is longer than [`MAX_NAME_BYTES`] counts for its service and has
//! no row of its own. Statuses become classes, since a chart of every status
//! says less than one of six classes.

use std::{
    collections::{BTreeMap, HashMap},
    hash::BuildHasher,
    sync::Arc,
};

use gatemeter_core::catalog::{
    ACTIVE, CACHE_HITS, CACHE_MISSES, DB_ACTIVE, DB_IDLE, FILTER_ERRORS, FILTER_INFO,
    REQUEST_DURATION, REQUESTS, SERIES, SERIES_LIMIT, SERIES_OVERFLOWS, SIGNAL_ERRORS, TICKS,
};

use crate::families::{Histogram, Number, Point, Reading, Series};

/// Classes of statuses: 1xx to 5xx, and what has no such status.
pub(super) const CLASSES: usize = 6;

/// Longest name of a route, method and path together, that gets a row.
pub(super) const MAX_NAME_BYTES: usize = 256;

/// Most reasons or signals that are listed for a service.
const MAX_LISTED: usize = 16;

/// What one Envoy says at one moment.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) services: BTreeMap<Arc<str>, ServiceTotals>,
}

/// What one Envoy says of a service.
#[derive(Debug, Default)]
pub(super) struct ServiceTotals {
    /// Nanoseconds, strictly increasing; empty where there is no histogram.
    pub(super) bounds: Arc<[u64]>,
    /// All routes.
    pub(super) sum: Counts,
    /// By what [`Hashes`] makes of their names.
    pub(super) routes: HashMap<u64, RouteTotals>,
    /// Hits and misses by `cache_type`.
    pub(super) caches: BTreeMap<Box<str>, [u64; 2]>,
    /// Open exchanges.
    pub(super) active: Option<u64>,
    /// Connections of the pool, active and idle.
    pub(super) pool: Option<[u64; 2]>,
    pub(super) health: Health,
}

/// A route and its totals.
#[derive(Debug)]
pub(super) struct RouteTotals {
    pub(super) route: Route,
    pub(super) counts: Counts,
}

/// What a route is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) method: Box<str>,
    pub(super) path: Box<str>,
}

/// Requests by class of their status, and by bin of their duration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) classes: [u64; CLASSES],
    /// Not cumulative; one more than there are bounds, or none.
    pub(super) bins: Vec<u64>,
}

/// What the filter says of itself; `None` where it says nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    pub(super) series: Option<u64>,
    pub(super) series_limit: Option<u64>,
    pub(super) overflows: Option<u64>,
    pub(super) ticks: Option<u64>,
    /// Sorted; only those above 0.
    pub(super) signal_errors: BTreeMap<Box<str>, u64>,
    /// Sorted; only those above 0.
    pub(super) filter_errors: BTreeMap<Box<str>, u64>,
    pub(super) versions: BTreeMap<Box<str>, u64>,
}

/// Hashes names of routes: seeded, so that no client can make two names meet.
#[derive(Clone, Debug, Default)]
pub(super) struct Hashes(foldhash::quality::RandomState);

impl Hashes {
    pub(super) fn of(&self, method: &str, path: &str) -> u64 {
        self.0.hash_one((method, path))
    }
}

impl Counts {
    /// All requests.
    pub(super) fn requests(&self) -> u64 {
        self.classes
            .iter()
            .fold(0, |sum, class| sum.saturating_add(*class))
    }

    /// Requests with a status of 500 or above.
    pub(super) const fn errors(&self) -> u64 {
        self.classes[4]
    }

    /// Adds counts of the same bounds; of other bounds only the classes.
    pub(super) fn add(&mut self, other: &Self) {
        for (sum, class) in self.classes.iter_mut().zip(other.classes) {
            *sum = sum.saturating_add(class);
        }
        if self.bins.is_empty() {
            self.bins.clone_from(&other.bins);
        } else if self.bins.len() == other.bins.len() {
            for (sum, bin) in self.bins.iter_mut().zip(&other.bins) {
                *sum = sum.saturating_add(*bin);
            }
        }
    }
}

impl Health {
    /// Adds what the filters in another Envoy say.
    pub(super) fn add(&mut self, other: &Self) {
        for (sum, value) in [
            (&mut self.series, other.series),
            (&mut self.series_limit, other.series_limit),
            (&mut self.overflows, other.overflows),
            (&mut self.ticks, other.ticks),
        ] {
            if let Some(value) = value {
                *sum = Some(sum.unwrap_or(0).saturating_add(value));
            }
        }
        for (sum, values) in [
            (&mut self.signal_errors, &other.signal_errors),
            (&mut self.filter_errors, &other.filter_errors),
            (&mut self.versions, &other.versions),
        ] {
            for (name, value) in values {
                count(sum, name, *value);
            }
        }
    }
}

impl Totals {
    /// What a reading says.
    pub(super) fn new(reading: &Reading, hashes: &Hashes) -> Self {
        let mut totals = Self::default();
        for service in &reading.services {
            totals
                .services
                .insert(Arc::clone(service), ServiceTotals::default());
        }
        for family in &reading.families {
            for series in &family.series {
                let service = series.service.as_ref();
                if let Some(service) = service.and_then(|name| totals.services.get_mut(name)) {
                    service.take(&family.name, series, hashes);
                }
            }
        }
        totals
    }
}

impl ServiceTotals {
    fn take(&mut self, family: &str, series: &Series, hashes: &Hashes) {
        if family == REQUEST_DURATION {
            if let Point::Histogram(histogram) = &series.point {
                self.take_histogram(series, histogram, hashes);
            }
            return;
        }
        let &Point::Number(number) = &series.point else {
            return;
        };
        let value = whole(number);
        let listed = |list: &mut BTreeMap<Box<str>, u64>, label: &str| {
            if value > 0 {
                count(list, label_of(series, label), value);
            }
        };
        let health = &mut self.health;
        match family {
            name if name == REQUESTS.name => self.take_requests(series, value, hashes),
            name if name == ACTIVE.name => self.active = Some(value),
            name if name == DB_ACTIVE.name => self.pool.get_or_insert_default()[0] = value,
            name if name == DB_IDLE.name => self.pool.get_or_insert_default()[1] = value,
            name if name == CACHE_HITS.name => self.cache(series)[0] = value,
            name if name == CACHE_MISSES.name => self.cache(series)[1] = value,
            name if name == SERIES.name => health.series = Some(value),
            name if name == SERIES_LIMIT.name => health.series_limit = Some(value),
            name if name == SERIES_OVERFLOWS.name => health.overflows = Some(value),
            name if name == TICKS.name => health.ticks = Some(value),
            name if name == SIGNAL_ERRORS.name => listed(&mut health.signal_errors, "signal"),
            name if name == FILTER_ERRORS.name => listed(&mut health.filter_errors, "reason"),
            name if name == FILTER_INFO.name => listed(&mut health.versions, "version"),
            _ => {}
        }
    }

    fn take_requests(&mut self, series: &Series, value: u64, hashes: &Hashes) {
        let class = class(label_of(series, "status"));
        let add = |counts: &mut Counts| {
            counts.classes[class] = counts.classes[class].saturating_add(value);
        };
        add(&mut self.sum);
        if let Some(route) = self.route(series, hashes) {
            add(&mut route.counts);
        }
    }

    fn take_histogram(&mut self, series: &Series, histogram: &Histogram, hashes: &Hashes) {
        if self.bounds.is_empty() {
            self.bounds = Arc::clone(histogram.bounds());
        }
        if *histogram.bounds() != self.bounds {
            return;
        }
        let mut below = 0;
        let bins: Vec<u64> = (histogram.cumulative())
            .map(|upto| {
                let bin = upto.saturating_sub(below);
                below = upto;
                u64::try_from(bin).unwrap_or(u64::MAX)
            })
            .collect();
        let counts = Counts {
            bins,
            ..Counts::default()
        };
        self.sum.add(&counts);
        if let Some(route) = self.route(series, hashes) {
            route.counts.add(&counts);
        }
    }

    fn route(&mut self, series: &Series, hashes: &Hashes) -> Option<&mut RouteTotals> {
        let (method, path) = (label_of(series, "method"), label_of(series, "path"));
        if method.len() + path.len() > MAX_NAME_BYTES {
            return None;
        }
        let route = self.routes.entry(hashes.of(method, path));
        Some(route.or_insert_with(|| RouteTotals {
            route: Route {
                method: method.into(),
                path: path.into(),
            },
            counts: Counts::default(),
        }))
    }

    fn cache(&mut self, series: &Series) -> &mut [u64; 2] {
        let name = shortened(label_of(series, "cache_type"));
        self.caches.entry(name).or_default()
    }
}

/// Adds to a short list; what it has no room for is left out.
fn count(list: &mut BTreeMap<Box<str>, u64>, name: &str, value: u64) {
    let name = shortened(name);
    if list.len() < MAX_LISTED || list.contains_key(&name) {
        let sum = list.entry(name).or_default();
        *sum = sum.saturating_add(value);
    }
}

fn shortened(name: &str) -> Box<str> {
    name.chars().take(MAX_NAME_BYTES / 4).collect()
}

fn label_of<'s>(series: &'s Series, name: &str) -> &'s str {
    series.labels.get(name).unwrap_or_default()
}

fn class(status: &str) -> usize {
    match status.as_bytes() {
        [digit @ b'1'..=b'5', _, _] => usize::from(digit - b'1'),
        _ => CLASSES - 1,
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(number: Number) -> u64 {
    match number {
        Number::Whole(value) => u64::try_from(value).unwrap_or(u64::MAX),
        // Saturates, and makes nothing of NaN.
        Number::Real(value) => value as u64,
    }
}
