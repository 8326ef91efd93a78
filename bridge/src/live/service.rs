//! A service on the page: which routes have a row, and what came on them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use gatemeter_core::buckets::MAX_BOUNDS;

use super::{
    baseline::{Baseline, MAX_WATCHED, ServiceBaseline, table_bytes},
    point::{CLASSES, Counts, Health, Route, ServiceTotals},
    quantile::as_f64,
    ring::{At, MAX_CACHES, MAX_ROUTES, OTHER, RouteMoment, ServiceMoment},
};

/// How many requests a failed one counts as, when rows are given.
const ERROR_WEIGHT: u64 = 10;
/// In this time what counted for a row comes to count 1/e.
const FORGETTING: Duration = Duration::from_mins(5);
/// A row is taken from a route for one that is so much busier.
const MUCH_BUSIER: f64 = 2.0;
/// How often rows may change hands; each time the whole ring is sent again.
const REPLACING: Duration = Duration::from_mins(1);

/// A service that is shown.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: Arc<str>,
    /// Bounds of the bins in every moment, nanoseconds.
    pub(super) bounds: Arc<[u64]>,
    /// By the numbers that moments name them with.
    pub(super) rows: Vec<Row>,
    pub(super) caches: Vec<Box<str>>,
    /// Totals since Envoy's start, of the last read.
    pub(super) latest: Latest,
    scores: HashMap<u64, f64>,
    replaced: Duration,
}

/// A route with a row.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) route: Route,
    pub(super) key: u64,
}

/// What was read last, added up over all Envoys.
#[derive(Debug, Default)]
pub(super) struct Latest {
    pub(super) classes: [u64; CLASSES],
    /// By row, then `other`.
    pub(super) rows: Vec<[u64; CLASSES]>,
    /// By cache.
    pub(super) caches: Vec<[u64; 2]>,
    pub(super) active: Option<u64>,
    pub(super) pool: Option<[u64; 2]>,
    pub(super) health: Health,
}

/// A service in one of the Envoys.
pub(super) struct Part<'t> {
    pub(super) now: &'t ServiceTotals,
    pub(super) before: Option<&'t Baseline>,
    pub(super) name: &'t Arc<str>,
}

impl Part<'_> {
    /// Applies `rise` to what was there before: nothing, for a service that is
    /// new in an Envoy that is not. `None` where the Envoy is new itself.
    fn since<T>(&self, rise: impl FnOnce(&ServiceBaseline) -> T) -> Option<T> {
        let before = self.before?;
        Some(match before.services.get(self.name) {
            Some(before) => rise(before),
            None => rise(&ServiceBaseline::default()),
        })
    }

    /// Counts of these bounds; those of ours are a superset.
    fn rebinned(&self, mut counts: Counts, bounds: &[u64]) -> Counts {
        if counts.bins.is_empty() || *self.now.bounds == *bounds {
            return counts;
        }
        let mut bins = vec![0_u64; bounds.len() + 1];
        for (at, bin) in counts.bins.iter().enumerate() {
            let to = self.now.bounds.get(at).map_or(bounds.len(), |bound| {
                bounds.partition_point(|common| common < bound)
            });
            bins[to] = bins[to].saturating_add(*bin);
        }
        counts.bins = bins;
        counts
    }
}

/// The bounds that all have, in which all can be added up exactly.
pub(super) fn common_bounds(parts: &[Part<'_>]) -> Arc<[u64]> {
    let mut with_bounds = parts.iter().filter(|part| !part.now.bounds.is_empty());
    let Some(first) = with_bounds.next() else {
        return Arc::default();
    };
    let mut others = with_bounds.filter(|part| part.now.bounds != first.now.bounds);
    let Some(second) = others.next() else {
        let most = first.now.bounds.len().min(MAX_BOUNDS);
        return first.now.bounds[..most].into();
    };
    let others: Vec<_> = std::iter::once(second).chain(others).collect();
    let bounds = first.now.bounds.iter().copied();
    bounds
        .filter(|bound| others.iter().all(|part| part.now.bounds.contains(bound)))
        .take(MAX_BOUNDS)
        .collect()
}

impl Service {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            bounds: Arc::default(),
            rows: Vec::new(),
            caches: Vec::new(),
            latest: Latest::default(),
            scores: HashMap::new(),
            replaced: Duration::ZERO,
        }
    }

    /// Whether the route with this key has a row.
    pub(super) fn has_row(&self, key: u64) -> bool {
        self.rows.iter().any(|row| row.key == key)
    }

    /// Gives rows to the busiest routes; says which rows had another route.
    pub(super) fn give_rows(
        &mut self,
        at: At,
        span: Option<Duration>,
        parts: &[Part<'_>],
    ) -> Vec<u8> {
        let forgotten = (-span.unwrap_or_default().div_duration_f64(FORGETTING)).exp();
        for score in self.scores.values_mut() {
            *score *= forgotten;
        }
        // Before anything is counted, those with most requests since Envoy's start.
        let mut before: HashMap<u64, (u64, &Route)> = HashMap::new();
        for part in parts {
            for (key, route) in &part.now.routes {
                let rise = part.since(|before| before.rise_of_watched(*key, part.now));
                let [requests, errors] = rise.unwrap_or_default();
                let weight = requests.saturating_add(errors.saturating_mul(ERROR_WEIGHT - 1));
                if weight > 0 && (self.scores.len() < MAX_WATCHED || self.scores.contains_key(key))
                {
                    *self.scores.entry(*key).or_default() += as_f64(weight);
                }
                let all = before.entry(*key).or_insert((0, &route.route));
                all.0 = all.0.saturating_add(route.counts.requests());
            }
        }
        let rows = &self.rows;
        self.scores
            .retain(|key, score| *score > 0.01 || rows.iter().any(|row| row.key == *key));
        let score = |key: u64| self.scores.get(&key).copied().unwrap_or_default();
        let mut waiting: Vec<(u64, &Route, f64, u64)> = before
            .into_iter()
            .filter(|(key, _)| !self.rows.iter().any(|row| row.key == *key))
            .map(|(key, (requests, route))| (key, route, score(key), requests))
            .collect();
        waiting.sort_by(|a, b| {
            b.2.total_cmp(&a.2)
                .then_with(|| b.3.cmp(&a.3))
                .then_with(|| (&a.1.path, &a.1.method).cmp(&(&b.1.path, &b.1.method)))
        });
        let mut given_up = Vec::new();
        let may_replace = at.elapsed.saturating_sub(self.replaced) >= REPLACING;
        for (key, route, score, _) in waiting {
            let row = Row {
                route: route.clone(),
                key,
            };
            if self.rows.len() < MAX_ROUTES {
                self.rows.push(row);
                continue;
            }
            let score_of = |row: &Row| self.scores.get(&row.key).copied().unwrap_or_default();
            let idlest = (self.rows.iter().enumerate())
                .map(|(number, row)| (number, score_of(row)))
                .min_by(|a, b| a.1.total_cmp(&b.1));
            let Some((number, least)) = idlest else { break };
            if !may_replace || score <= MUCH_BUSIER * least + 1.0 {
                break;
            }
            self.rows[number] = row;
            self.replaced = at.elapsed;
            given_up.extend(u8::try_from(number));
        }
        for name in parts.iter().flat_map(|part| part.now.caches.keys()) {
            if self.caches.len() < MAX_CACHES && !self.caches.contains(name) {
                self.caches.push(name.clone());
            }
        }
        given_up
    }

    pub(super) fn latest_of(&self, parts: &[Part<'_>]) -> Latest {
        let mut latest = Latest {
            rows: vec![[0; CLASSES]; self.rows.len() + 1],
            caches: vec![[0; 2]; self.caches.len() + 1],
            ..Latest::default()
        };
        for part in parts {
            add(&mut latest.classes, &part.now.sum.classes);
            let mut with_row = [0; CLASSES];
            for (row, sum) in self.rows.iter().zip(&mut latest.rows) {
                if let Some(route) = part.now.routes.get(&row.key) {
                    add(sum, &route.counts.classes);
                    add(&mut with_row, &route.counts.classes);
                }
            }
            if let Some(other) = latest.rows.last_mut() {
                let sums = part.now.sum.classes.iter().zip(with_row);
                for (other, (sum, with_row)) in other.iter_mut().zip(sums) {
                    *other = other.saturating_add(sum.saturating_sub(with_row));
                }
            }
            for (name, counts) in &part.now.caches {
                add(&mut latest.caches[self.cache(name)], counts);
            }
            if let Some(active) = part.now.active {
                latest.active = Some(latest.active.unwrap_or(0).saturating_add(active));
            }
            if let Some(pool) = part.now.pool {
                add(latest.pool.get_or_insert_default(), &pool);
            }
            latest.health.add(&part.now.health);
        }
        latest
    }

    /// Its number, or that of those that have none.
    fn cache(&self, name: &str) -> usize {
        let known = self.caches.iter().position(|cache| **cache == *name);
        known.unwrap_or(self.caches.len())
    }

    pub(super) fn moment(&self, number: u8, parts: &[Part<'_>]) -> ServiceMoment {
        let mut sums = vec![Counts::default(); self.rows.len() + 1];
        let mut caches = vec![[0_u64; 2]; self.caches.len() + 1];
        for part in parts {
            let Some(mut other) = part.since(|before| before.rise(part.now)) else {
                continue;
            };
            for (row, sum) in self.rows.iter().zip(&mut sums) {
                let rise = part.since(|before| before.rise_of(row.key, part.now));
                if let Some(rise) = rise.flatten() {
                    take_away(&mut other, &rise);
                    sum.add(&part.rebinned(rise, &self.bounds));
                }
            }
            if let Some(sum) = sums.last_mut() {
                sum.add(&part.rebinned(other, &self.bounds));
            }
            let rises = part.since(|before| {
                for (name, rise) in before.rise_of_caches(part.now) {
                    add(&mut caches[self.cache(name)], &rise);
                }
            });
            debug_assert!(rises.is_some());
        }
        if caches.last() == Some(&[0; 2]) {
            caches.pop();
        }
        let last = self.rows.len();
        let routes = sums.into_iter().enumerate().filter_map(|(row, sum)| {
            let is_idle = sum.requests() == 0 && sum.bins.iter().all(|bin| *bin == 0);
            let row = if row == last {
                OTHER
            } else {
                u8::try_from(row).unwrap_or(OTHER)
            };
            (!is_idle).then(|| RouteMoment {
                row,
                classes: sum.classes.map(compact),
                bins: sum.bins.into_iter().map(compact).collect(),
            })
        });
        ServiceMoment {
            service: number,
            active: self.latest.active.map(compact),
            pool: self.latest.pool.map(|pool| pool.map(compact)),
            caches: caches.into_iter().map(|cache| cache.map(compact)).collect(),
            routes: routes.collect(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let names: usize = self
            .rows
            .iter()
            .map(|row| row.route.method.len() + row.route.path.len())
            .chain(self.caches.iter().map(|name| name.len()))
            .sum();
        names
            + self.rows.capacity() * size_of::<Row>()
            + self.latest.rows.capacity() * size_of::<[u64; CLASSES]>()
            + table_bytes::<(u64, f64)>(self.scores.capacity())
    }
}

fn add<const N: usize>(sums: &mut [u64; N], values: &[u64; N]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum = sum.saturating_add(*value);
    }
}

fn take_away(from: &mut Counts, counts: &Counts) {
    for (from, class) in from.classes.iter_mut().zip(counts.classes) {
        *from = from.saturating_sub(class);
    }
    for (from, bin) in from.bins.iter_mut().zip(&counts.bins) {
        *from = from.saturating_sub(*bin);
    }
}

/// More than four billion requests between two reads do not come.
fn compact(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
