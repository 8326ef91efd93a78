//! The stats that the filter writes, one constant a shape.

use super::{LE, SERVICE, Stat, StatKind};

/// Name of the metric behind [`REQUEST_DURATION_BIN`].
pub const REQUEST_DURATION: &str = "http_request_duration_seconds";
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
/// 1 for each bound of a histogram's bins in use, 0 for one that a new
/// configuration took away.
pub const BUCKET_BOUND: Stat = gauge("gatemeter_bucket_bound", &[SERVICE, "metric", LE]);
/// 1 for each metric that the configuration itself names, so that the bridge
/// knows its type and text; 0 for one that a new configuration took away.
pub const FAMILY: Stat = gauge("gatemeter_family", &[SERVICE, "metric", "type", "help"]);
/// What caches did, by result.
pub const CACHE_RESPONSES: Stat =
    counter("cache_responses_total", &[SERVICE, "cache_type", "result"]);
/// Bytes of the bodies that went out, by what each cache did.
pub const CACHE_RESPONSE_BYTES: Stat = counter(
    "cache_response_bytes_total",
    &[SERVICE, "cache_type", "result"],
);
/// Bytes of request bodies, by route.
pub const REQUEST_BYTES: Stat = counter("http_request_bytes_total", &[SERVICE, "method", "path"]);
/// Bytes of response bodies, by route.
pub const RESPONSE_BYTES: Stat = counter("http_response_bytes_total", &[SERVICE, "method", "path"]);
/// Sessions of players that had to make room for others.
pub const SESSIONS_EVICTED: Stat = counter("gatemeter_sessions_evicted_total", &[SERVICE]);

pub(super) const fn counter(name: &'static str, labels: &'static [&'static str]) -> Stat {
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
