//! From stats to a page, by the bridge's own code: `/stats` text as Envoy
//! prints it, decoded, added up, spelled.
//!
//! Envoy keeps stats of its own that the bridge reads too; [`EnvoyStats`] moves
//! them for the proxies that are not Envoy. Stats that are not of our filter
//! print under their own names, with `_` for what Prometheus does not allow.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use gatemeter_bridge::exposition::{self, Format, Part, Scope};
use gatemeter_bridge::families::{Family, LabelSet, Number, Point, Reading, Series};
use gatemeter_core::catalog::{
    self, ENVOY_NAMESPACE, FAMILY, Kind, Page, RESPONSES_INCOMPLETE, UNPARSED, Unit,
};
use gatemeter_core::stat_name;
use gatemeter_host_tests::stats::Stats;

use crate::proxy::RunError;
use crate::scenario::End;

/// What Envoy itself counts of a service, with the shipped configuration: its
/// connection manager, and the two loggers for what no filter sees.
#[derive(Clone, Debug, Default)]
pub(crate) struct EnvoyStats {
    active: u64,
    resets_sent: u64,
    cut_by_client: u64,
    unparsed: u64,
}

impl EnvoyStats {
    /// An exchange begins.
    pub(crate) fn begins(&mut self) {
        self.active += 1;
    }

    /// An exchange ends so, with this status, if it had one.
    pub(crate) fn ends(&mut self, status: Option<u16>, end: &End) {
        self.active -= 1;
        match (status, end) {
            (Some(200..), End::Aborted) => self.cut_by_client += 1,
            (Some(200..), End::Reset) => self.resets_sent += 1,
            _ => {}
        }
    }

    /// A request never becomes an exchange that a filter sees.
    pub(crate) fn loses_one(&mut self) {
        self.unparsed += 1;
    }

    /// Counters of the filter's that Envoy's loggers raise.
    fn raised(&self, service: &str) -> BTreeMap<String, u64> {
        [
            (
                stat_name::encode(&RESPONSES_INCOMPLETE, &[service, "downstream_reset"]),
                self.cut_by_client,
            ),
            (stat_name::encode(&UNPARSED, &[service]), self.unparsed),
        ]
        .into_iter()
        .filter(|(_, value)| *value > 0)
        .filter_map(|(name, value)| Some((name.ok()?, value)))
        .collect()
    }
}

/// The page of a service, or of a module that has none.
///
/// # Errors
/// Where the bridge would drop a stat of our filter.
pub(crate) fn page(
    stats: &Stats,
    envoy: &EnvoyStats,
    service: Option<&str>,
    format: Format,
) -> Result<String, RunError> {
    let service = service.filter(|service| {
        let name = stat_name::encode(&catalog::SERIES_LIMIT, &[service]);
        name.is_ok_and(|name| stats.gauge(&name).is_some())
    });
    let mut families = Vec::new();
    if let Some(service) = service {
        let text = stats_text(stats, envoy, service);
        let reading = Reading::of(text.as_bytes(), &BTreeMap::new());
        if let Some((reason, number)) = reading.dropped.iter().next() {
            let reason = reason.as_str();
            return Err(RunError::Broken(format!(
                "the bridge would drop {number} stats of the filter: {reason}"
            )));
        }
        families = reading.families;
    }
    families.extend(other_families(stats, service, format));
    // A service's page, with what else the filter says of the service.
    for family in &mut families {
        family.page = Page::Service;
    }
    let scope = service.map_or(Scope::All, Scope::Service);
    Ok(exposition::page(&[Part::plain(&families)], scope, format))
}

/// The stats that are our filter's.
struct Ours {
    /// Names of those behind metrics that the configuration names.
    named: BTreeSet<String>,
}

impl Ours {
    fn of(stats: &Stats) -> Self {
        let mut named = BTreeSet::new();
        for name in stats.names() {
            let decoded = stat_name::decode(name).ok();
            let decoded = decoded.filter(|decoded| *decoded.stat == FAMILY);
            if let Some(metric) = decoded.as_ref().and_then(|decoded| decoded.value("metric")) {
                let base = metric.strip_suffix("_seconds").unwrap_or(metric);
                named.extend([
                    metric.to_owned(),
                    format!("{metric}_bin"),
                    format!("{base}_nanoseconds_sum"),
                ]);
            }
        }
        Self { named }
    }

    fn has(&self, name: &str) -> bool {
        let unlisted = || stat_name::decode_unlisted(name).ok();
        stat_name::decode(name).is_ok() || unlisted().is_some_and(|u| self.named.contains(u.stat))
    }
}

/// Envoy's `/stats`, as far as the bridge reads it.
fn stats_text(stats: &Stats, envoy: &EnvoyStats, service: &str) -> String {
    let mut text = String::new();
    let mut line = |name: std::fmt::Arguments<'_>, value: u64| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name}: {value}");
    };
    let mut raised = envoy.raised(service);
    let ours = Ours::of(stats);
    for name in stats.names().into_iter().filter(|name| ours.has(name)) {
        if let Some(value) = stats.counter(name).or(stats.gauge(name)) {
            let raised = raised.remove(name).unwrap_or_default();
            line(format_args!("{ENVOY_NAMESPACE}{name}"), value + raised);
        }
    }
    for (name, value) in raised {
        line(format_args!("{ENVOY_NAMESPACE}{name}"), value);
    }
    line(
        format_args!("http.{service}.downstream_rq_active"),
        envoy.active,
    );
    line(
        format_args!("http.{service}.downstream_rq_tx_reset"),
        envoy.resets_sent,
    );
    text
}

/// Families of the stats that are not of our filter.
fn other_families(stats: &Stats, service: Option<&str>, format: Format) -> Vec<Family> {
    let mut named: BTreeMap<String, (Kind, Vec<(String, u128)>)> = BTreeMap::new();
    let mut add = |kind: Kind, raw: String, value: u128| {
        let mut name = sanitised(&raw);
        if kind == Kind::Counter && format == Format::OpenMetrics && !name.ends_with("_total") {
            name.push_str("_total");
        }
        let (_, values) = named.entry(name).or_insert((kind, Vec::new()));
        values.push((raw, value));
    };
    let ours = Ours::of(stats);
    for name in stats.names().into_iter().filter(|name| !ours.has(name)) {
        if let Some(value) = stats.counter(name) {
            add(Kind::Counter, name.to_owned(), value.into());
        } else if let Some(value) = stats.gauge(name) {
            add(Kind::Gauge, name.to_owned(), value.into());
        } else if let Some(samples) = stats.histogram(name) {
            let sum = samples.iter().map(|sample| u128::from(*sample)).sum();
            add(
                Kind::Counter,
                format!("{name}_count"),
                samples.len() as u128,
            );
            add(Kind::Gauge, format!("{name}_sum"), sum);
        }
    }
    let service: Option<Arc<str>> = service.map(Arc::from);
    named
        .into_iter()
        .map(|(name, (kind, values))| {
            // Two names that Prometheus cannot tell apart.
            let is_shared = values.len() > 1;
            let help = match values.as_slice() {
                [(raw, _)] => format!("The stat {raw} of the module."),
                _ => "Stats of the module whose names differ in other characters.".to_owned(),
            };
            let series = values.into_iter().map(|(raw, value)| Series {
                service: service.clone(),
                labels: if is_shared {
                    LabelSet::shared([("stat", raw)])
                } else {
                    Arc::default()
                },
                point: Point::Number(Number::Whole(value)),
            });
            Family {
                name: Cow::Owned(name),
                help: Cow::Owned(help),
                kind: kind.into(),
                unit: Unit::One,
                page: Page::Operator,
                is_usual: true,
                series: series.collect(),
            }
        })
        .collect()
}

/// As Envoy's Prometheus page does it; a leading digit gets a `_` before it.
fn sanitised(raw: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let name: String = raw
        .chars()
        .map(|c| if is_plain(c) { c } else { '_' })
        .collect();
    match name.chars().next() {
        Some(first) if !first.is_ascii_digit() => name,
        _ => format!("_{name}"),
    }
}
