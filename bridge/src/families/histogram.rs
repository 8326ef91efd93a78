//! Bins to histograms.
//!
//! A bin is a counter of the observations that fell between two bounds; it is
//! not cumulative. Every bound in use is shown for every series, also where no
//! observation fell, so that all series of a service have the same buckets. A
//! bin whose bound is no longer in use (the configuration changed) belongs to
//! the next greater bound: its observations were at or below that one too.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use gatemeter_core::buckets::GUIDE_BOUNDS;

use super::{Histogram, Point, Series, labels};
use crate::decode::{Bound, Sample};

/// The bins of one histogram metric, of all services.
pub(super) struct Bins<'a> {
    /// Sorted by labels.
    bins: Vec<Bin<'a>>,
    /// Nanoseconds by the labels of the series, the service first.
    sums: BTreeMap<Vec<Cow<'a, str>>, u64>,
}

struct Bin<'a> {
    /// All labels of the stat but `le`, the service first.
    labels: Vec<Cow<'a, str>>,
    le: Bound,
    count: u64,
}

/// A stat of a histogram: a bin, or where it has no bound the sum.
pub(super) struct Part<'a> {
    /// All labels of the stat but `le`, the service first.
    pub(super) labels: Vec<Cow<'a, str>>,
    pub(super) bound: Option<Bound>,
    pub(super) value: u64,
}

impl<'a> From<Sample<'a>> for Part<'a> {
    fn from(sample: Sample<'a>) -> Self {
        Self {
            labels: sample.values,
            bound: sample.bound,
            value: sample.value,
        }
    }
}

/// The bounds that are in use, by service and metric.
pub(super) type InUse = BTreeMap<(String, String), BTreeSet<u64>>;

impl<'a> Bins<'a> {
    /// Sorts the stats of one histogram metric into bins and sums.
    pub(super) fn new(parts: impl IntoIterator<Item = Part<'a>>) -> Self {
        let mut bins = Vec::new();
        let mut sums = BTreeMap::new();
        for part in parts {
            match part.bound {
                Some(le) => bins.push(Bin {
                    labels: part.labels,
                    le,
                    count: part.value,
                }),
                None => {
                    sums.insert(part.labels, part.value);
                }
            }
        }
        // Envoy prints sorted, so that this is one pass.
        bins.sort_by(|a, b| a.labels.cmp(&b.labels));
        Self { bins, sums }
    }

    /// All observations of each label set, the service's name first.
    pub(super) fn totals(&self) -> impl Iterator<Item = (&[Cow<'a, str>], u128)> {
        self.bins
            .chunk_by(|a, b| a.labels == b.labels)
            .filter_map(|bins| Some((bins.first()?.labels.as_slice(), count(bins))))
    }

    /// The histograms of a metric with these labels: one for each set of their
    /// values, whatever further labels the bins have.
    pub(super) fn histograms(
        &self,
        metric: &str,
        names: &[&'static str],
        services: &BTreeSet<Arc<str>>,
        in_use: &InUse,
    ) -> Vec<Series> {
        let key = |bin: &Bin<'a>| -> usize { bin.labels.len().min(1 + names.len()) };
        let mut fallback = BTreeMap::new();
        self.bins
            .chunk_by(|a, b| a.labels[..key(a)] == b.labels[..key(b)])
            .filter_map(|bins| {
                let first = bins.first()?;
                let key = &first.labels[..key(first)];
                let (name, values) = key.split_first()?;
                let place = (name.to_string(), metric.to_owned());
                let bounds = in_use.get(&place).unwrap_or_else(|| {
                    fallback
                        .entry(name)
                        .or_insert_with(|| self.bounds_seen(name))
                });
                Some(Series {
                    service: Some(Arc::clone(services.get(name.as_ref())?)),
                    labels: labels(names, values),
                    point: Point::Histogram(Histogram {
                        buckets: cumulative(bins, bounds),
                        count: count(bins),
                        sum_nanoseconds: self.sums.get(key).copied().unwrap_or(0).into(),
                    }),
                })
            })
            .collect()
    }

    /// What to show for a service that does not say which bounds it uses.
    fn bounds_seen(&self, service: &str) -> BTreeSet<u64> {
        let seen = self
            .bins
            .iter()
            .filter(|bin| bin.labels.first().is_some_and(|s| s == service));
        seen.filter_map(|bin| match bin.le {
            Bound::Nanoseconds(nanos) => Some(nanos),
            Bound::Infinity => None,
        })
        .chain(GUIDE_BOUNDS)
        .collect()
    }
}

/// The bounds that each service's filter was configured with last, from the
/// gauges that say so; a metric whose gauges are all 0 is left out.
pub(super) fn bounds_in_use(gauges: &[Sample<'_>]) -> InUse {
    let mut bounds = InUse::new();
    for gauge in gauges.iter().filter(|gauge| gauge.value > 0) {
        if let (Some(Bound::Nanoseconds(nanos)), [service, metric]) =
            (gauge.bound, gauge.values.as_slice())
        {
            let place = (service.to_string(), metric.to_string());
            bounds.entry(place).or_default().insert(nanos);
        }
    }
    bounds
}

fn count(bins: &[Bin<'_>]) -> u128 {
    bins.iter().map(|bin| u128::from(bin.count)).sum()
}

fn cumulative(bins: &[Bin<'_>], bounds: &BTreeSet<u64>) -> Vec<(u64, u128)> {
    let mut buckets: Vec<(u64, u128)> = bounds.iter().map(|&bound| (bound, 0)).collect();
    for bin in bins {
        if let Bound::Nanoseconds(le) = bin.le {
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
    buckets
}
