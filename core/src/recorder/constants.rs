//! What a configuration says of itself in gauges: the bounds of its histograms
//! and the metrics that it names.
//!
//! A constant is 1. Envoy never forgets a stat, so one that the configuration
//! before had and this one has not is set to 0; shared data remembers which.

use super::scalars::set_constant;
use crate::buckets::Buckets;
use crate::catalog::{BUCKET_BOUND, FAMILY, REQUEST_DURATION, Stat};
use crate::host::{Failed, HostCall, Stats};
use crate::plugin_config::PluginConfig;
use crate::signal_rules::Family;

/// Between the values of one constant, and between two: no value holds either.
const UNIT: char = '\u{1f}';
const RECORD: char = '\u{1e}';

/// Publishes them all.
pub(super) fn publish<'h>(
    host: &impl Stats,
    config: &'h PluginConfig,
    histograms: impl Iterator<Item = (&'h str, &'h Buckets)>,
) -> Result<(), Failed> {
    let service = config.service.as_str();
    let requests = (REQUEST_DURATION, &config.buckets);
    let mut bounds = Vec::new();
    for (metric, buckets) in std::iter::once(requests).chain(histograms) {
        for bin in 0..buckets.bins() {
            bounds.push(vec![metric.to_owned(), buckets.spelled(bin)]);
        }
    }
    replace(host, service, "bounds", BUCKET_BOUND, bounds)?;
    let families = config.signals.families().filter_map(of_family);
    replace(host, service, "families", FAMILY, families.collect())
}

/// `None` for a metric of the catalogue.
fn of_family(family: &Family) -> Option<Vec<String>> {
    let help = family.help.clone()?;
    let kind = family.kind.as_str().to_owned();
    Some(vec![family.name.clone(), kind, help])
}

fn replace(
    host: &impl Stats,
    service: &str,
    what: &str,
    stat: Stat,
    now: Vec<Vec<String>>,
) -> Result<(), Failed> {
    let key = format!("gatemeter.{service}.{what}");
    let before = host.shared_data(&key)?;
    let before = before.as_ref().map_or(&[][..], |(bytes, _)| bytes);
    let before = str::from_utf8(before).unwrap_or_default();
    let set = |values: &[&str], to: u64| {
        let values: Vec<&str> = [service].iter().chain(values).copied().collect();
        set_constant(host, stat, &values, to)
    };
    for record in before.split(RECORD).filter(|record| !record.is_empty()) {
        let values: Vec<&str> = record.split(UNIT).collect();
        if !now.iter().any(|constant| *constant == values) {
            set(&values, 0)?;
        }
    }
    for constant in &now {
        let values: Vec<&str> = constant.iter().map(String::as_str).collect();
        set(&values, 1)?;
    }
    let records: Vec<String> = now
        .iter()
        .map(|constant| constant.join(&UNIT.to_string()))
        .collect();
    let stored = host.set_shared_data(&key, records.join(&RECORD.to_string()).as_bytes(), 0)?;
    stored.then_some(()).ok_or(Failed(HostCall::SetSharedData))
}
