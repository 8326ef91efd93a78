//! Metrics that plugin configurations name.
//!
//! A gauge says of each which service names it, its type and its text; only
//! with that are stats ours that the catalogue does not know. Services may name
//! the same metric: it is one family where type and labels are the same. Where
//! they are not, the service that comes first by name has it, and the stats of
//! the others are dropped and counted. A name that the pages already have, or
//! that no page could show, is nobody's.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use gatemeter_core::catalog::{self, Kind, Page, Unit};

use super::{
    Family,
    histogram::{Bins, InUse},
    layout::{Layout, Source, compare},
};
use crate::decode::stats::{Entry, Stats};

/// What a service says of a metric.
struct Named {
    service: Arc<str>,
    kind: Kind,
    help: String,
}

/// Adds the families that the gauges `named` tell of, by name.
pub(super) fn add_families(
    layout: &mut Layout,
    stats: &mut Stats,
    named: &[u32],
    unlisted: BTreeMap<Arc<str>, Vec<u32>>,
    in_use: &InUse,
) {
    let mut by_name: BTreeMap<String, Vec<Named>> = BTreeMap::new();
    let gauges = named.iter();
    for gauge in gauges.filter_map(|&at| stats.entries().get(at as usize)) {
        let mut values = gauge.labels.values();
        if let (Some(metric), Some(kind), Some(help)) = (
            values.next(),
            values.next().and_then(kind_of),
            values.next(),
        ) && gauge.value > 0
            && is_free(metric)
        {
            by_name.entry(metric.to_owned()).or_default().push(Named {
                service: Arc::clone(&gauge.service),
                kind,
                help: help.to_owned(),
            });
        }
    }
    let mut unlisted = unlisted;
    for (name, mut named) in by_name {
        named.sort_by(|a, b| {
            let key = |named: &Named| (named.kind.as_str(), named.help.clone());
            a.service.cmp(&b.service).then_with(|| key(a).cmp(&key(b)))
        });
        let Some(first) = named.first() else {
            continue;
        };
        let kind = first.kind;
        let family = Family {
            name: Cow::Owned(name.clone()),
            help: Cow::Owned(first.help.clone()),
            kind: kind.into(),
            unit: unit(&name),
            page: Page::Service,
            is_usual: false,
            series: Vec::new(),
        };
        let mut fitting = Vec::new();
        for (stat, is_binned) in stats_of(&name, kind) {
            for at in unlisted.remove(stat.as_str()).unwrap_or_default() {
                let Some(entry) = stats.entries().get(at as usize) else {
                    continue;
                };
                let own = named.iter().find(|named| named.service == entry.service);
                match own {
                    None => {}
                    Some(own) if own.kind == kind && entry.is_binned() == is_binned => {
                        fitting.push(at);
                    }
                    Some(_) => layout.conflicts += count(entry),
                }
            }
        }
        let rows = if kind == Kind::Histogram {
            Bins::new(stats, fitting).histograms(layout, stats, &name, &[], in_use)
        } else {
            numbers(layout, stats, fitting, kind)
        };
        layout.push(family, rows);
    }
}

/// One series a stat; those whose labels differ from the first one's are
/// conflicts.
fn numbers(
    layout: &mut Layout,
    stats: &Stats,
    mut entries: Vec<u32>,
    kind: Kind,
) -> Vec<super::layout::Row> {
    let entry = |at: u32| stats.entries().get(at as usize);
    let names = |entry: &Entry| -> Vec<String> {
        let names = entry.labels.iter().map(|(name, _)| name.to_owned());
        names.collect()
    };
    entries.sort_by(|&a, &b| match (entry(a), entry(b)) {
        (Some(a), Some(b)) => a
            .service
            .cmp(&b.service)
            .then_with(|| names(a).cmp(&names(b)))
            .then_with(|| compare(a, b, usize::MAX)),
        _ => a.cmp(&b),
    });
    let first = entries.first().and_then(|&at| entry(at)).map(names);
    let mut rows = Vec::new();
    for at in entries {
        let Some(entry) = entry(at) else {
            continue;
        };
        if Some(names(entry)) != first {
            layout.conflicts += count(entry);
            continue;
        }
        let (source, is_counter) = match kind {
            Kind::Gauge => (Source::Gauge(at), false),
            _ => (Source::Number(at), true),
        };
        rows.extend(layout.row(stats, at, source, is_counter));
    }
    rows
}

fn count(entry: &Entry) -> u64 {
    u64::try_from(entry.stats()).unwrap_or(u64::MAX)
}

/// Names of the stats behind a metric, and whether they are bins.
fn stats_of(name: &str, kind: Kind) -> Vec<(String, bool)> {
    match kind {
        Kind::Counter | Kind::Gauge => vec![(name.to_owned(), false)],
        Kind::Histogram => {
            let base = name.strip_suffix("_seconds").unwrap_or(name);
            vec![
                (format!("{name}_bin"), true),
                (format!("{base}_nanoseconds_sum"), false),
            ]
        }
    }
}

/// Whether a page can show a metric of this name, and has none yet.
fn is_free(name: &str) -> bool {
    let starts = |c: u8| c.is_ascii_alphabetic() || c == b'_';
    name.bytes().next().is_some_and(starts)
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
        && !name.starts_with("gatemeter_")
        && catalog::metric(name).is_none()
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
