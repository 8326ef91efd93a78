//! The metric catalogue: the one table of what Gatemeter shows and of the
//! Envoy stats behind it.
//!
//! The filter writes only the stats named here, the bridge reads only these,
//! and documents, dashboards and alerts are checked against the same rows.
//! A new metric is one row here, one recording line and one scenario.
//!
//! Names follow the Prometheus naming rules (base units, `_total` on counters
//! only). The first seven rows are those of the metrics guide; their names,
//! labels and HELP texts are fixed.

mod rows;
mod stats;

pub use rows::CATALOG;
pub use stats::*;

/// Namespace that Envoy puts before the name of every stat of a wasm module on
/// its `/stats` page, and strips on `/stats/prometheus`.
pub const ENVOY_NAMESPACE: &str = "wasmcustom.";

/// Label that names the service; first in every stat name.
pub const SERVICE: &str = "service";

/// Label that carries a histogram's bound; last in a stat name.
pub const LE: &str = "le";

/// Prometheus metric type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Monotonic; the name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets, `_sum` and `_count`.
    Histogram,
}

impl Kind {
    /// Word of the `# TYPE` line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Unit of the values that Prometheus sees; always a base unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// A count of things.
    One,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
}

impl Unit {
    /// Word of OpenMetrics' `# UNIT` line; `None` for a plain count.
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::One => None,
            Self::Bytes => Some("bytes"),
            Self::Seconds => Some("seconds"),
        }
    }
}

/// How firmly a name, its labels and its meaning stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stability {
    /// Changes only with a new major version.
    Stable,
    /// May change in a minor version.
    Unstable,
}

/// Which pages of the bridge show a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Page {
    /// `/metrics/<service>` and, with the label `service`, `/metrics`.
    Service,
    /// `/metrics` only: what tells of Gatemeter and of Envoy, not of the
    /// service's own work.
    Operator,
    /// No page: the bridge needs it to build another metric, or it is for
    /// people who push through an Envoy stats sink.
    None,
}

/// Where the numbers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The bridge's own state.
    Bridge,
    /// Envoy's own counters and gauges below `http.<service>.`.
    Envoy,
    /// Stats that the filter writes.
    Filter,
    /// Stats that the filter writes where a rule or a preset of its
    /// configuration asks for them.
    Rule,
}

/// Type of an Envoy stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StatKind {
    /// Adds up.
    Counter,
    /// Is set, or goes up and down.
    Gauge,
    /// Envoy's approximate histogram.
    Histogram,
}

/// One shape of Envoy stat that the filter writes; `stat_name` spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stat {
    /// First part of the stat's name, without Envoy's namespace.
    pub name: &'static str,
    /// Its Envoy type.
    pub kind: StatKind,
    /// Labels in the order of the name; `service` first, `le` last.
    pub labels: &'static [&'static str],
}

/// One metric as Prometheus sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Metric {
    /// Name of the metric family.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Unit of its values.
    pub unit: Unit,
    /// Labels in the order in which they are shown, without `service` and `le`.
    pub labels: &'static [&'static str],
    /// Text of the `# HELP` line.
    pub help: &'static str,
    /// Whether name and meaning are promised.
    pub stability: Stability,
    /// Pages that show it.
    pub page: Page,
    /// Where its numbers come from.
    pub origin: Origin,
    /// The stats that the filter writes for it.
    pub stats: &'static [Stat],
}

/// How many rows are those of the metrics guide; the first ones.
const OF_THE_GUIDE: usize = 7;

impl Metric {
    /// Whether it is one of the metrics guide's, which every service shows.
    pub fn is_of_the_guide(&self) -> bool {
        let mut guide = CATALOG.iter().take(OF_THE_GUIDE);
        guide.any(|metric| metric.name == self.name)
    }
}

/// The row with this name.
pub fn metric(name: &str) -> Option<&'static Metric> {
    CATALOG.iter().find(|metric| metric.name == name)
}

/// The stat with this name, and the metric it belongs to.
pub fn stat(name: &str) -> Option<(&'static Stat, &'static Metric)> {
    CATALOG.iter().find_map(|metric| {
        let stat = metric.stats.iter().find(|stat| stat.name == name)?;
        Some((stat, metric))
    })
}

/// Envoy's `stats_tags` for every label of every stat: tag name and regular
/// expression. With them Envoy's own Prometheus page shows our labels.
///
/// The first capture is what Envoy cuts out of the name, the second is the
/// value. Values never hold a dot, except `le`, which is last.
pub fn stats_tags() -> Vec<(&'static str, String)> {
    let mut labels: Vec<&'static str> = Vec::new();
    for stat in CATALOG.iter().flat_map(|metric| metric.stats) {
        for label in stat.labels {
            if !labels.contains(label) {
                labels.push(label);
            }
        }
    }
    labels
        .into_iter()
        .map(|label| {
            let value = if label == LE { ".*" } else { "[^.]*" };
            (label, format!(r"^wasmcustom\..*(\.{label}=({value}))"))
        })
        .collect()
}

#[cfg(test)]
mod tests;
