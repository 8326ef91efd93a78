//! Bins to histograms.
//!
//! A bin is a counter of the observations that fell between two bounds; it is
//! not cumulative. Every bound in use is shown for every series, also where no
//! observation fell, so that all series of a service have the same buckets. A
//! bin whose bound is no longer in use (the configuration changed) belongs to
//! the next greater bound: its observations were at or below that one too.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use gatemeter_core::buckets::GUIDE_BOUNDS;

use super::{
    LabelSet,
    layout::{Layout, Row, Source, compare},
};
use crate::decode::{
    line::Bound,
    stats::{Entry, Stats},
};

/// A histogram in exact numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    bounds: Arc<[u64]>,
    /// How many observations are at or below each bound, how many there are, and
    /// their sum in nanoseconds: together, because a page has thousands of these.
    numbers: Box<[u128]>,
}

/// The bounds of the histograms of a service.
#[derive(Debug)]
pub(super) struct Bounds {
    /// Nanoseconds, strictly increasing.
    shown: Arc<[u64]>,
    /// In which bucket a bin counts first, by the place of the bin's bound.
    buckets: Box<[u32]>,
}

/// The stats of one histogram metric, of all services.
pub(super) struct Bins {
    /// Sorted by service and labels.
    bins: Vec<u32>,
    /// Of nanoseconds; sorted by service and labels.
    sums: Vec<u32>,
}

/// The bounds that are in use, by service and metric.
pub(super) type InUse = BTreeMap<(String, String), BTreeSet<u64>>;

impl Bins {
    /// Sorts the stats of one histogram metric into bins and sums.
    pub(super) fn new(stats: &Stats, entries: Vec<u32>) -> Self {
        let entry = |at: u32| stats.entries().get(at as usize);
        let (bins, sums) = entries
            .into_iter()
            .partition(|&at| entry(at).is_some_and(Entry::is_binned));
        let mut both = Self { bins, sums };
        for entries in [&mut both.bins, &mut both.sums] {
            // Envoy prints sorted, so that this is little more than one pass.
            entries.sort_by(|&a, &b| match (entry(a), entry(b)) {
                (Some(a), Some(b)) => compare(a, b, usize::MAX),
                _ => a.cmp(&b),
            });
        }
        both
    }

    pub(super) const fn len(&self) -> usize {
        self.bins.len()
    }

    /// The histograms of a metric with these labels: one for each set of their
    /// values, whatever further labels the bins have.
    pub(super) fn histograms(
        &self,
        layout: &mut Layout,
        stats: &mut Stats,
        metric: &str,
        names: &[&'static str],
        in_use: &InUse,
    ) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut rest_of_sums = self.sums.as_slice();
        // Of the service that was last; the bins are sorted by service.
        let mut bounds: Option<(Arc<str>, u32)> = None;
        let mut rest = self.bins.as_slice();
        while let Some(first) = rest.first().and_then(|&at| entry(stats, at)) {
            let is_same = |at: &&u32| {
                let other = entry(stats, **at);
                other.is_some_and(|other| compare(first, other, names.len()).is_eq())
            };
            let (bins, others) = rest.split_at(rest.iter().take_while(is_same).count());
            rest = others;
            let is_before = |at: &&u32| {
                let other = entry(stats, **at);
                other.is_some_and(|other| compare(other, first, names.len()).is_lt())
            };
            let before = rest_of_sums.iter().take_while(is_before).count();
            rest_of_sums = rest_of_sums.split_at(before).1;
            let own_sums = rest_of_sums.iter().take_while(is_same).count();
            let own_sums = rest_of_sums.split_at(own_sums).0;
            let bins = layout.add_members(bins);
            let sums = layout.add_members(own_sums);
            let moves_with = bins.start..sums.end;
            let service = Arc::clone(&first.service);
            let labels = first.labels.iter().take(names.len());
            let labels = names.iter().copied().zip(labels.map(|(_, value)| value));
            let labels = LabelSet::new(labels);
            let place = match &bounds {
                Some((of, place)) if *of == service => *place,
                _ => {
                    let key = (service.to_string(), metric.to_owned());
                    let known = in_use.get(&key).cloned();
                    let known = known.unwrap_or_else(|| self.bounds_seen(stats, &service));
                    layout.bounds.push(Bounds::new(stats, &known));
                    u32::try_from(layout.bounds.len() - 1).unwrap_or(u32::MAX)
                }
            };
            bounds = Some((Arc::clone(&service), place));
            rows.push(Row {
                service,
                labels: stats.label_set(labels),
                source: Source::Histogram {
                    bins,
                    sums,
                    bounds: place,
                },
                moves_with,
            });
        }
        rows
    }

    /// What to show for a service that does not say which bounds it uses.
    fn bounds_seen(&self, stats: &Stats, service: &str) -> BTreeSet<u64> {
        let entries = self.bins.iter().filter_map(|&at| entry(stats, at));
        entries
            .filter(|entry| *entry.service == *service)
            .flat_map(|entry| &entry.bins)
            .filter_map(|&bin| match stats.bound(bin) {
                Bound::Nanoseconds(nanos) => Some(nanos),
                Bound::Infinity => None,
            })
            .chain(GUIDE_BOUNDS)
            .collect()
    }
}

impl Bounds {
    fn new(stats: &Stats, shown: &BTreeSet<u64>) -> Self {
        let bucket = |bound| match bound {
            Bound::Infinity => shown.len(),
            Bound::Nanoseconds(le) => shown.range(..le).count(),
        };
        let buckets = stats.bounds().map(bucket);
        Self {
            shown: shown.iter().copied().collect(),
            buckets: buckets
                .map(|at| u32::try_from(at).unwrap_or(u32::MAX))
                .collect(),
        }
    }

    /// The histogram of these bins and sums.
    pub(super) fn histogram<'s>(
        &self,
        bins: impl Iterator<Item = &'s Entry>,
        sums: impl Iterator<Item = &'s Entry>,
    ) -> Histogram {
        let bins = bins.flat_map(|entry| &entry.bins).map(|bin| {
            // Bounds do not come without a new layout.
            let bucket = self.buckets.get(bin.bound_place()).copied();
            (bucket.map_or(usize::MAX, |at| at as usize), bin.count)
        });
        let sum = sums.map(|entry| u128::from(entry.value)).sum();
        Histogram::new(Arc::clone(&self.shown), bins, sum)
    }
}

impl Histogram {
    /// With these bounds in nanoseconds, inclusive and strictly increasing; each
    /// of the bins is the place of the first bound that its observations are at
    /// or below, or any greater number, and how many it holds.
    pub fn new(
        bounds: Arc<[u64]>,
        bins: impl IntoIterator<Item = (usize, u64)>,
        sum_nanoseconds: u128,
    ) -> Self {
        let mut numbers = vec![0_u128; bounds.len() + 2].into_boxed_slice();
        for (at, count) in bins {
            if let Some(bin) = numbers.get_mut(at.min(bounds.len())) {
                *bin += u128::from(count);
            }
        }
        let mut below = 0;
        for number in &mut numbers {
            below += *number;
            *number = below;
        }
        if let Some(sum) = numbers.last_mut() {
            *sum = sum_nanoseconds;
        }
        Self { bounds, numbers }
    }

    /// Bounds in nanoseconds, inclusive and strictly increasing.
    pub const fn bounds(&self) -> &Arc<[u64]> {
        &self.bounds
    }

    /// Each bound, and how many observations are at or below it.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u128)> {
        self.bounds.iter().copied().zip(self.cumulative())
    }

    /// How many observations are at or below each bound, then all.
    pub fn cumulative(&self) -> impl Iterator<Item = u128> {
        self.numbers.iter().copied().take(self.bounds.len() + 1)
    }

    /// All observations.
    pub fn count(&self) -> u128 {
        self.number(self.bounds.len())
    }

    /// Sum of all observations in nanoseconds.
    pub fn sum_nanoseconds(&self) -> u128 {
        self.number(self.bounds.len() + 1)
    }

    fn number(&self, at: usize) -> u128 {
        self.numbers.get(at).copied().unwrap_or_default()
    }
}

fn entry(stats: &Stats, at: u32) -> Option<&Entry> {
    stats.entries().get(at as usize)
}
