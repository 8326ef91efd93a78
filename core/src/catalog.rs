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
    /// Seconds.
    Seconds,
}

impl Unit {
    /// Word of OpenMetrics' `# UNIT` line; `None` for a plain count.
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::One => None,
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

/// One per request and histogram bin, not cumulative: the truth behind both
/// `http_requests_total` and `http_request_duration_seconds`.
pub const REQUEST_DURATION_BIN: Stat = counter(
    "http_request_duration_seconds_bin",
    &[SERVICE, "method", "path", "status", LE],
);
/// Nanoseconds of all requests of a method and path.
pub const REQUEST_DURATION_SUM: Stat = counter(
    "http_request_duration_nanoseconds_sum",
    &[SERVICE, "method", "path"],
);
/// Requests, for people who look at Envoy's own page.
pub const REQUESTS: Stat = counter(
    "http_requests_total",
    &[SERVICE, "method", "path", "status"],
);
/// Envoy histogram in milliseconds, where the option `native_histogram` is on.
pub const REQUEST_DURATION_NATIVE: Stat = Stat {
    name: "http_request_duration_ms",
    kind: StatKind::Histogram,
    labels: &[SERVICE, "method", "path"],
};
/// Exchanges in flight by the filter's own guards.
pub const ACTIVE: Stat = gauge("active_connections", &[SERVICE]);
/// Connections of the service's database pool that are in use.
pub const DB_ACTIVE: Stat = gauge("db_connections_active", &[SERVICE]);
/// Connections of the service's database pool that are idle.
pub const DB_IDLE: Stat = gauge("db_connections_idle", &[SERVICE]);
/// Cache hits.
pub const CACHE_HITS: Stat = counter("cache_hits_total", &[SERVICE, "cache_type"]);
/// Cache misses.
pub const CACHE_MISSES: Stat = counter("cache_misses_total", &[SERVICE, "cache_type"]);
/// Replies that Envoy made itself, by response flag.
pub const LOCAL_REPLIES: Stat = counter("http_local_replies_total", &[SERVICE, "reason"]);
/// Responses that the client cut; Envoy's own stats access logger writes it.
/// Those that the upstream cut are Envoy's `downstream_rq_tx_reset`.
pub const RESPONSES_INCOMPLETE: Stat =
    counter("http_responses_incomplete_total", &[SERVICE, "reason"]);
/// Requests on excluded paths.
pub const EXCLUDED: Stat = counter("gatemeter_excluded_requests_total", &[SERVICE]);
/// Hops that Envoy redirected internally.
pub const INTERNAL_REDIRECTS: Stat = counter("gatemeter_internal_redirects_total", &[SERVICE]);
/// Requests that Envoy's codec refused before any filter saw them; Envoy's own
/// stats access logger writes it.
pub const UNPARSED: Stat = counter("gatemeter_unparsed_requests_total", &[SERVICE]);
/// Label sets in use.
pub const SERIES: Stat = gauge("gatemeter_series", &[SERVICE]);
/// Label sets that may be in use.
pub const SERIES_LIMIT: Stat = gauge("gatemeter_series_limit", &[SERVICE]);
/// Requests whose label set was over the limit.
pub const SERIES_OVERFLOWS: Stat = counter("gatemeter_series_overflows_total", &[SERVICE]);
/// Signal headers that could not be read.
pub const SIGNAL_ERRORS: Stat = counter("gatemeter_signal_errors_total", &[SERVICE, "signal"]);
/// Host calls that failed.
pub const FILTER_ERRORS: Stat = counter("gatemeter_filter_errors_total", &[SERVICE, "reason"]);
/// Ticks of all VMs.
pub const TICKS: Stat = counter("gatemeter_filter_ticks_total", &[SERVICE]);
/// Version of the filter that was configured last; the value is 1.
pub const FILTER_INFO: Stat = gauge("gatemeter_filter_info", &[SERVICE, "version"]);
/// 1 for each bound of the histogram bins in use, 0 for one that a new
/// configuration took away.
pub const BUCKET_BOUND: Stat = gauge("gatemeter_bucket_bound", &[SERVICE, LE]);

/// Every metric, in the order in which the pages show them.
pub const CATALOG: &[Metric] = &[
    Metric {
        name: "http_requests_total",
        kind: Kind::Counter,
        labels: &["method", "path", "status"],
        help: "Total number of HTTP requests processed",
        stats: &[REQUESTS],
        ..GUIDE
    },
    Metric {
        name: "http_request_duration_seconds",
        kind: Kind::Histogram,
        unit: Unit::Seconds,
        labels: &["method", "path"],
        help: "HTTP request latency in seconds",
        stats: &[REQUEST_DURATION_BIN, REQUEST_DURATION_SUM],
        ..GUIDE
    },
    Metric {
        name: "active_connections",
        kind: Kind::Gauge,
        help: "Number of active HTTP/WebSocket connections",
        origin: Origin::Envoy,
        stats: &[ACTIVE],
        ..GUIDE
    },
    Metric {
        name: "db_connections_active",
        kind: Kind::Gauge,
        help: "Number of active database connections in the pool",
        stats: &[DB_ACTIVE],
        ..GUIDE
    },
    Metric {
        name: "db_connections_idle",
        kind: Kind::Gauge,
        help: "Number of idle database connections in the pool",
        stats: &[DB_IDLE],
        ..GUIDE
    },
    Metric {
        name: "cache_hits_total",
        kind: Kind::Counter,
        labels: &["cache_type"],
        help: "Total number of cache hits",
        stats: &[CACHE_HITS],
        ..GUIDE
    },
    Metric {
        name: "cache_misses_total",
        kind: Kind::Counter,
        labels: &["cache_type"],
        help: "Total number of cache misses",
        stats: &[CACHE_MISSES],
        ..GUIDE
    },
    Metric {
        name: "http_local_replies_total",
        kind: Kind::Counter,
        labels: &["reason"],
        help: "Requests with a status of 500 or above, or without a response, on which Envoy set a response flag, by that flag.",
        stability: Stability::Stable,
        stats: &[LOCAL_REPLIES],
        ..OPERATOR
    },
    Metric {
        name: "http_responses_incomplete_total",
        kind: Kind::Counter,
        labels: &["reason"],
        help: "Responses that were cut after their headers, by the side that cut them.",
        stability: Stability::Stable,
        origin: Origin::Envoy,
        stats: &[RESPONSES_INCOMPLETE],
        ..OPERATOR
    },
    Metric {
        name: "gatemeter_excluded_requests_total",
        kind: Kind::Counter,
        help: "Requests on paths that the configuration excludes.",
        stats: &[EXCLUDED],
        ..OPERATOR
    },
    Metric {
        name: "gatemeter_internal_redirects_total",
        kind: Kind::Counter,
        help: "Hops that Envoy redirected internally; they are no requests of a client.",
        stats: &[INTERNAL_REDIRECTS],
        ..OPERATOR
    },
    Metric {
        name: "gatemeter_unparsed_requests_total",
        kind: Kind::Counter,
        help: "Requests that Envoy refused or lost before their headers were complete; no filter sees them.",
        origin: Origin::Envoy,
        stats: &[UNPARSED],
        ..OPERATOR
    },
    Metric {
        name: "gatemeter_series",
        kind: Kind::Gauge,
        help: "Label sets of method, path and status in use, without the reserve for overflow.",
        stats: &[SERIES],
        ..OPERATOR
    },
    Metric {
        name: "gatemeter_series_limit",
        kind: Kind::Gauge,
        help: "Label sets of method, path and status that may be in use, without the reserve for overflow.",
        stats: &[SERIES_LIMIT],
        ..OPERATOR
    },
    Metric {
        name: "gatemeter_series_overflows_total",
        kind: Kind::Counter,
        help: "Requests counted under the path _OVERFLOW because all label sets were in use or the name was too long.",
        stats: &[SERIES_OVERFLOWS],
        ..OPERATOR
    },
    Metric {
        name: "gatemeter_signal_errors_total",
        kind: Kind::Counter,
        labels: &["signal"],
        help: "Signal headers of responses that could not be read, by signal.",
        stats: &[SIGNAL_ERRORS],
        ..OPERATOR
    },
    Metric {
        name: "gatemeter_filter_errors_total",
        kind: Kind::Counter,
        labels: &["reason"],
        help: "Host calls of the filter that failed, by call.",
        stats: &[FILTER_ERRORS],
        ..OPERATOR
    },
    Metric {
        name: "gatemeter_filter_ticks_total",
        kind: Kind::Counter,
        help: "Ticks of the filter in all VMs; a filter that stops ticking is dead.",
        stats: &[TICKS],
        ..OPERATOR
    },
    Metric {
        name: "gatemeter_filter_info",
        kind: Kind::Gauge,
        labels: &["version"],
        help: "Version of the filter that was configured; the value is 1.",
        stats: &[FILTER_INFO],
        ..OPERATOR
    },
    Metric {
        name: "gatemeter_bucket_bound",
        kind: Kind::Gauge,
        help: "Bounds of the histogram bins in use.",
        page: Page::None,
        stats: &[BUCKET_BOUND],
        ..OPERATOR
    },
    Metric {
        name: "http_request_duration_ms",
        kind: Kind::Histogram,
        labels: &["method", "path"],
        help: "HTTP request latency in milliseconds as an Envoy histogram, for stats sinks.",
        page: Page::None,
        stats: &[REQUEST_DURATION_NATIVE],
        ..OPERATOR
    },
    Metric {
        name: "gatemeter_up",
        kind: Kind::Gauge,
        help: "Whether the last read of Envoy's stats succeeded (1) or not (0).",
        stability: Stability::Stable,
        ..BRIDGE
    },
    Metric {
        name: "gatemeter_scrape_duration_seconds",
        kind: Kind::Gauge,
        unit: Unit::Seconds,
        help: "How long the last read of Envoy's stats took.",
        ..BRIDGE
    },
    Metric {
        name: "gatemeter_scrape_errors_total",
        kind: Kind::Counter,
        labels: &["reason"],
        help: "Reads of Envoy's stats that failed, by reason.",
        stability: Stability::Stable,
        ..BRIDGE
    },
    Metric {
        name: "gatemeter_dropped_stats_total",
        kind: Kind::Counter,
        labels: &["reason"],
        help: "Stats of Envoy that were dropped because they could not be read, by reason.",
        ..BRIDGE
    },
    Metric {
        name: "gatemeter_build_info",
        kind: Kind::Gauge,
        labels: &["version"],
        help: "Version of the bridge; the value is 1.",
        ..BRIDGE
    },
];

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

const fn counter(name: &'static str, labels: &'static [&'static str]) -> Stat {
    Stat {
        name,
        kind: StatKind::Counter,
        labels,
    }
}

const fn gauge(name: &'static str, labels: &'static [&'static str]) -> Stat {
    Stat {
        name,
        kind: StatKind::Gauge,
        labels,
    }
}

const GUIDE: Metric = Metric {
    name: "",
    kind: Kind::Counter,
    unit: Unit::One,
    labels: &[],
    help: "",
    stability: Stability::Stable,
    page: Page::Service,
    origin: Origin::Filter,
    stats: &[],
};

const OPERATOR: Metric = Metric {
    page: Page::Operator,
    stability: Stability::Unstable,
    ..GUIDE
};

const BRIDGE: Metric = Metric {
    origin: Origin::Bridge,
    ..OPERATOR
};

#[cfg(test)]
mod tests;
