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
    Histogram, LabelSet,
    layout::{Layout, Row, Source, compare},
};
use crate::decode::{
    line::Bound,
    stats::{Entry, Stats},
};

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
        let mut sums = self.sums.as_slice();
        // Of the service that was last; the bins are sorted by service.
        let mut bounds: Option<(Arc<str>, usize)> = None;
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
            sums = sums.split_at(sums.iter().take_while(is_before).count()).1;
            let own_sums = sums.split_at(sums.iter().take_while(is_same).count()).0;
            let start = layout.members.len();
            layout.members.extend_from_slice(bins);
            let end_of_bins = layout.members.len();
            layout.members.extend_from_slice(own_sums);
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
                    layout.bounds.push(known.into_iter().collect());
                    layout.bounds.len() - 1
                }
            };
            bounds = Some((Arc::clone(&service), place));
            rows.push(Row {
                service,
                labels: stats.label_set(labels),
                source: Source::Histogram {
                    bins: start..end_of_bins,
                    sums: end_of_bins..layout.members.len(),
                    bounds: place,
                },
                moves_with: start..layout.members.len(),
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

impl Histogram {
    /// The histogram of these bins and sums.
    pub(super) fn of<'s>(
        stats: &Stats,
        bins: impl Iterator<Item = &'s Entry>,
        sums: impl Iterator<Item = &'s Entry>,
        bounds: &[u64],
    ) -> Self {
        let mut buckets: Vec<(u64, u128)> = bounds.iter().map(|&bound| (bound, 0)).collect();
        let mut count = 0;
        for &bin in bins.flat_map(|entry| &entry.bins) {
            count += u128::from(bin.count);
            if let Bound::Nanoseconds(le) = stats.bound(bin) {
                let at = buckets.partition_point(|&(bound, _)| bound < le);
                if let Some((_, count)) = buckets.get_mut(at) {
                    *count += u128::from(bin.count);
                }
            }
        }
        let mut below = 0;
        for (_, count) in &mut buckets {
            below += *count;
            *count = below;
        }
        Self {
            buckets,
            count,
            sum_nanoseconds: sums.map(|entry| u128::from(entry.value)).sum(),
        }
    }
}

fn entry(stats: &Stats, at: u32) -> Option<&Entry> {
    stats.entries().get(at as usize)
}
