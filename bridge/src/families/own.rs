//! Metrics that plugin configurations name.
//!
//! A gauge says of each which service names it, its type and its text; only
//! with that are stats ours that the catalogue does not know. Services may name
//! the same metric: it is one family where type and labels are the same. Where
//! they are not, the service that comes first by name has it, and the stats of
//! the others are dropped and counted.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use gatemeter_core::catalog::{Kind, Page, Unit};

use super::{
    Family, LabelSet, Series,
    histogram::{Bins, InUse, Part},
};
use crate::decode::{DropReason, Sample, UnlistedSample};

/// What a service says of a metric.
struct Named<'n> {
    service: &'n Arc<str>,
    kind: Kind,
    help: &'n str,
}

/// Where the stats of a metric go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Number,
    Bin,
    Sum,
}

/// The families that the gauges `named` tell of, by name.
pub(super) fn families(
    named: &[Sample<'_>],
    unlisted: Vec<UnlistedSample<'_>>,
    services: &BTreeSet<Arc<str>>,
    in_use: &InUse,
    dropped: &mut BTreeMap<DropReason, u64>,
) -> Vec<Family> {
    let mut by_name: BTreeMap<&str, Vec<Named<'_>>> = BTreeMap::new();
    for sample in named.iter().filter(|sample| sample.value > 0) {
        if let [service, metric, kind, help] = sample.values.as_slice()
            && let (Some(service), Some(kind)) = (services.get(service.as_ref()), kind_of(kind))
        {
            by_name.entry(metric).or_default().push(Named {
                service,
                kind,
                help,
            });
        }
    }
    let mut stats: BTreeMap<&str, Vec<UnlistedSample<'_>>> = BTreeMap::new();
    for sample in unlisted {
        stats.entry(sample.stat).or_default().push(sample);
    }
    by_name
        .into_iter()
        .filter_map(|(name, mut named)| {
            named.sort_by(|a, b| a.service.cmp(b.service));
            let first = named.first()?;
            let samples = stats_of(name, first.kind)
                .into_iter()
                .flat_map(|(stat, role)| {
                    let samples = stats.remove(stat.as_str()).unwrap_or_default();
                    samples.into_iter().map(move |sample| (role, sample))
                });
            let (mut fitting, others): (Vec<_>, Vec<_>) = samples
                .filter(|(_, sample)| named.iter().any(|n| *n.service.as_ref() == *sample.service))
                .partition(|(_, sample)| {
                    let own = named
                        .iter()
                        .find(|n| *n.service.as_ref() == *sample.service);
                    own.is_some_and(|own| own.kind == first.kind)
                });
            let mut conflicts = others.len();
            let mut family = Family {
                name: Cow::Owned(name.to_owned()),
                help: Cow::Owned(first.help.to_owned()),
                kind: first.kind.into(),
                unit: unit(name),
                page: Page::Service,
                is_usual: false,
                series: Vec::new(),
            };
            if first.kind == Kind::Histogram {
                let parts = fitting.into_iter().map(|(role, sample)| Part {
                    labels: vec![sample.service],
                    bound: sample.bound.filter(|_| role == Role::Bin),
                    value: sample.value,
                });
                family.series = Bins::new(parts).histograms(name, &[], services, in_use);
            } else {
                if first.kind == Kind::Gauge {
                    // Envoy wraps what is below zero.
                    let before = fitting.len();
                    fitting.retain(|(_, sample)| sample.value <= i64::MAX.unsigned_abs());
                    count(dropped, DropReason::NegativeGauge, before - fitting.len());
                }
                family.series = numbers(fitting, services, &mut conflicts);
            }
            family.sort();
            count(dropped, DropReason::Conflict, conflicts);
            Some(family)
        })
        .collect()
}

fn count(dropped: &mut BTreeMap<DropReason, u64>, reason: DropReason, stats: usize) {
    if let Some(stats) = u64::try_from(stats).ok().filter(|stats| *stats > 0) {
        *dropped.entry(reason).or_default() += stats;
    }
}

/// One series a stat; those whose labels differ from the first one's are
/// conflicts.
fn numbers(
    samples: Vec<(Role, UnlistedSample<'_>)>,
    services: &BTreeSet<Arc<str>>,
    conflicts: &mut usize,
) -> Vec<Series> {
    let mut samples = samples;
    samples.sort_by(|(_, a), (_, b)| a.service.cmp(&b.service));
    let names = |sample: &UnlistedSample<'_>| -> Vec<String> {
        sample
            .labels
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect()
    };
    let first = samples.first().map(|(_, sample)| names(sample));
    let mut series = Vec::new();
    for (_, sample) in samples {
        if Some(names(&sample)) != first || sample.bound.is_some() {
            *conflicts += 1;
            continue;
        }
        let Some(service) = services.get(sample.service.as_ref()) else {
            continue;
        };
        let labels = sample.labels.into_iter();
        let labels = labels.map(|(name, value)| (name.to_owned(), value.into_owned()));
        let labels = LabelSet::shared(labels);
        series.push(Series::number(service, labels, sample.value.into()));
    }
    series
}

/// Names of the stats behind a metric.
fn stats_of(name: &str, kind: Kind) -> Vec<(String, Role)> {
    match kind {
        Kind::Counter | Kind::Gauge => vec![(name.to_owned(), Role::Number)],
        Kind::Histogram => {
            let base = name.strip_suffix("_seconds").unwrap_or(name);
            vec![
                (format!("{name}_bin"), Role::Bin),
                (format!("{base}_nanoseconds_sum"), Role::Sum),
            ]
        }
    }
}

fn kind_of(word: &str) -> Option<Kind> {
    let kinds = [Kind::Counter, Kind::Gauge, Kind::Histogram];
    kinds.into_iter().find(|kind| kind.as_str() == word)
}

fn unit(name: &str) -> Unit {
    match name.trim_end_matches("_total") {
        base if base.ends_with("_seconds") => Unit::Seconds,
        base if base.ends_with("_bytes") => Unit::Bytes,
        _ => Unit::One,
    }
}
