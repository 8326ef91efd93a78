//! The rows of the catalogue.

use super::stats::{
    ACTIVE, BUCKET_BOUND, CACHE_HITS, CACHE_MISSES, CACHE_RESPONSE_BYTES, CACHE_RESPONSES,
    DB_ACTIVE, DB_IDLE, EXCLUDED, FAMILY, FILTER_ERRORS, FILTER_INFO, INTERNAL_REDIRECTS,
    LOCAL_REPLIES, REQUEST_BYTES, REQUEST_DURATION, REQUEST_DURATION_BIN, REQUEST_DURATION_NATIVE,
    REQUEST_DURATION_SUM, REQUESTS, RESPONSE_BYTES, RESPONSES_INCOMPLETE, SERIES, SERIES_LIMIT,
    SERIES_OVERFLOWS, SESSIONS_EVICTED, SIGNAL_ERRORS, TICKS, UNPARSED, counter,
};
use super::{Kind, LE, Metric, Origin, Page, SERVICE, Stability, Unit};

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
        name: REQUEST_DURATION,
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
        ..RULE
    },
    Metric {
        name: "db_connections_idle",
        kind: Kind::Gauge,
        help: "Number of idle database connections in the pool",
        stats: &[DB_IDLE],
        ..RULE
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
        name: "cache_responses_total",
        kind: Kind::Counter,
        labels: &["cache_type", "result"],
        help: "Responses by what each cache on the way did: hit, miss, stale, revalidated, bypass or other.",
        stats: &[CACHE_RESPONSES],
        ..GUIDE
    },
    Metric {
        name: "cache_response_bytes_total",
        kind: Kind::Counter,
        unit: Unit::Bytes,
        labels: &["cache_type", "result"],
        help: "Bytes of response bodies sent, by what each cache on the way did.",
        stats: &[CACHE_RESPONSE_BYTES],
        ..GUIDE
    },
    Metric {
        name: "http_request_bytes_total",
        kind: Kind::Counter,
        unit: Unit::Bytes,
        labels: &["method", "path"],
        help: "Bytes of request bodies received.",
        stats: &[REQUEST_BYTES],
        ..GUIDE
    },
    Metric {
        name: "http_response_bytes_total",
        kind: Kind::Counter,
        unit: Unit::Bytes,
        labels: &["method", "path"],
        help: "Bytes of response bodies sent.",
        stats: &[RESPONSE_BYTES],
        ..GUIDE
    },
    Metric {
        name: "auth_attempts_total",
        labels: &["result"],
        help: "Authentication attempts by result: success or failure.",
        stats: &[counter("auth_attempts_total", &[SERVICE, "result"])],
        ..RULE
    },
    Metric {
        name: "rate_limit_hits_total",
        help: "Requests that were refused by a rate limit.",
        stats: &[counter("rate_limit_hits_total", &[SERVICE])],
        ..RULE
    },
    Metric {
        name: "search_queries_total",
        labels: &["result"],
        help: "Search queries by result: found, empty or error.",
        stats: &[counter("search_queries_total", &[SERVICE, "result"])],
        ..RULE
    },
    Metric {
        name: "search_query_duration_seconds",
        help: "Duration of search queries in seconds, as the service measured it.",
        stats: &[
            counter("search_query_duration_seconds_bin", &[SERVICE, LE]),
            counter("search_query_duration_nanoseconds_sum", &[SERVICE]),
        ],
        ..SECONDS
    },
    Metric {
        name: "recommendation_duration_seconds",
        help: "Duration of recommendations in seconds, as the service measured it.",
        stats: &[
            counter("recommendation_duration_seconds_bin", &[SERVICE, LE]),
            counter("recommendation_duration_nanoseconds_sum", &[SERVICE]),
        ],
        ..SECONDS
    },
    Metric {
        name: "vector_db_query_duration_seconds",
        help: "Duration of vector database queries in seconds, as the service measured it.",
        stats: &[
            counter("vector_db_query_duration_seconds_bin", &[SERVICE, LE]),
            counter("vector_db_query_duration_nanoseconds_sum", &[SERVICE]),
        ],
        ..SECONDS
    },
    Metric {
        name: "stream_init_duration_seconds",
        help: "Time that players took to start a stream, in seconds.",
        stats: &[
            counter("stream_init_duration_seconds_bin", &[SERVICE, LE]),
            counter("stream_init_duration_nanoseconds_sum", &[SERVICE]),
        ],
        ..SECONDS
    },
    Metric {
        name: "stream_bitrate_changes_total",
        labels: &["direction"],
        help: "Changes of the bitrate that players asked for, by direction: up or down.",
        stats: &[counter(
            "stream_bitrate_changes_total",
            &[SERVICE, "direction"],
        )],
        ..RULE
    },
    Metric {
        name: "stream_buffer_events_total",
        help: "Requests of players whose buffer had run empty.",
        stats: &[counter("stream_buffer_events_total", &[SERVICE])],
        ..RULE
    },
    Metric {
        name: "content_processing_duration_seconds",
        help: "Duration of content processing in seconds, as the service measured it.",
        stats: &[
            counter("content_processing_duration_seconds_bin", &[SERVICE, LE]),
            counter("content_processing_duration_nanoseconds_sum", &[SERVICE]),
        ],
        ..SECONDS
    },
    Metric {
        name: "metadata_extraction_duration_seconds",
        help: "Duration of metadata extraction in seconds, as the service measured it.",
        stats: &[
            counter("metadata_extraction_duration_seconds_bin", &[SERVICE, LE]),
            counter("metadata_extraction_duration_nanoseconds_sum", &[SERVICE]),
        ],
        ..SECONDS
    },
    Metric {
        name: "storage_uploads_total",
        labels: &["result"],
        help: "Uploads to storage by result: success or failure.",
        stats: &[counter("storage_uploads_total", &[SERVICE, "result"])],
        ..RULE
    },
    Metric {
        name: "storage_upload_bytes_total",
        unit: Unit::Bytes,
        help: "Bytes of uploads that storage took.",
        stats: &[counter("storage_upload_bytes_total", &[SERVICE])],
        ..RULE
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
        name: "http_connection_received_bytes_total",
        kind: Kind::Counter,
        unit: Unit::Bytes,
        help: "Bytes that Envoy received from clients of the service, with headers and framing.",
        stability: Stability::Stable,
        origin: Origin::Envoy,
        ..OPERATOR
    },
    Metric {
        name: "http_connection_sent_bytes_total",
        kind: Kind::Counter,
        unit: Unit::Bytes,
        help: "Bytes that Envoy sent to clients of the service, with headers and framing.",
        stability: Stability::Stable,
        origin: Origin::Envoy,
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
        name: "gatemeter_sessions_evicted_total",
        kind: Kind::Counter,
        help: "Sessions of players that were forgotten to make room for others.",
        stats: &[SESSIONS_EVICTED],
        ..OPERATOR
    },
    Metric {
        name: "gatemeter_family",
        kind: Kind::Gauge,
        labels: &["metric", "type", "help"],
        help: "Metrics that the configuration names, with type and text.",
        page: Page::None,
        stats: &[FAMILY],
        ..OPERATOR
    },
    Metric {
        name: "gatemeter_bucket_bound",
        kind: Kind::Gauge,
        labels: &["metric"],
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
        labels: &["phase"],
        help: "How long this scrape took by phase: envoy and decode, sources, and render of the page before.",
        ..BRIDGE
    },
    Metric {
        name: "gatemeter_envoy_answer_bytes",
        kind: Kind::Gauge,
        unit: Unit::Bytes,
        help: "Bytes of Envoy's answer to this scrape.",
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
        name: "gatemeter_envoy_restarts_total",
        kind: Kind::Counter,
        help: "Times that Envoy's counters were seen to begin again, after a restart or because they were reset.",
        ..BRIDGE
    },
    Metric {
        name: "gatemeter_vm_reloads_total",
        kind: Kind::Counter,
        labels: &["plugin", "result"],
        help: "Starts of a VM after its plugin had trapped, by plugin and result: success, failure or backoff.",
        ..BRIDGE
    },
    Metric {
        name: "gatemeter_vms",
        kind: Kind::Gauge,
        help: "VMs that Envoy has now, those of other plugins too.",
        ..BRIDGE
    },
    Metric {
        name: "gatemeter_vm_creations_total",
        kind: Kind::Counter,
        help: "VMs that Envoy has made since its start, those of other plugins too.",
        ..BRIDGE
    },
    Metric {
        name: "gatemeter_filter_heartbeat_age_seconds",
        kind: Kind::Gauge,
        unit: Unit::Seconds,
        help: "Time since a read first saw the present number of the filter's ticks, at least; 0 at the first read.",
        ..BRIDGE
    },
    Metric {
        name: "gatemeter_source_up",
        kind: Kind::Gauge,
        help: "Whether the service's own page could be read (1) or not (0).",
        stability: Stability::Stable,
        ..BRIDGE
    },
    Metric {
        name: "gatemeter_source_duration_seconds",
        kind: Kind::Gauge,
        unit: Unit::Seconds,
        help: "How long the read of the service's own page took.",
        ..BRIDGE
    },
    Metric {
        name: "gatemeter_source_errors_total",
        kind: Kind::Counter,
        labels: &["reason"],
        help: "Reads of the service's own page that failed, by reason.",
        ..BRIDGE
    },
    Metric {
        name: "gatemeter_dropped_series_total",
        kind: Kind::Counter,
        labels: &["reason"],
        help: "Series of the service's own page that were left out of a page of the bridge, by reason.",
        ..BRIDGE
    },
    Metric {
        name: "gatemeter_page_series",
        kind: Kind::Gauge,
        help: "Series on this page.",
        ..BRIDGE
    },
    Metric {
        name: "gatemeter_config_last_reload_successful",
        kind: Kind::Gauge,
        help: "Whether the last configuration that was read is in use (1) or was refused (0).",
        ..BRIDGE
    },
    Metric {
        name: "gatemeter_config_last_reload_success_timestamp_seconds",
        kind: Kind::Gauge,
        unit: Unit::Seconds,
        help: "When the configuration in use was read, in seconds since the epoch.",
        ..BRIDGE
    },
    Metric {
        name: "gatemeter_build_info",
        kind: Kind::Gauge,
        labels: &["version"],
        help: "Version of the bridge; the value is 1.",
        ..BRIDGE
    },
    Metric {
        name: "process_cpu_seconds_total",
        kind: Kind::Counter,
        unit: Unit::Seconds,
        help: "Processor time that the bridge has used.",
        ..BRIDGE
    },
    Metric {
        name: "process_start_time_seconds",
        kind: Kind::Gauge,
        unit: Unit::Seconds,
        help: "When the bridge was started, in seconds since the epoch.",
        ..BRIDGE
    },
    Metric {
        name: "process_virtual_memory_bytes",
        kind: Kind::Gauge,
        unit: Unit::Bytes,
        help: "Virtual memory of the bridge.",
        ..BRIDGE
    },
    Metric {
        name: "process_resident_memory_bytes",
        kind: Kind::Gauge,
        unit: Unit::Bytes,
        help: "Resident memory of the bridge.",
        ..BRIDGE
    },
    Metric {
        name: "process_threads",
        kind: Kind::Gauge,
        help: "Threads of the bridge.",
        ..BRIDGE
    },
    Metric {
        name: "process_open_fds",
        kind: Kind::Gauge,
        help: "File descriptors that the bridge has open.",
        ..BRIDGE
    },
    Metric {
        name: "process_max_fds",
        kind: Kind::Gauge,
        help: "File descriptors that the bridge may have open.",
        ..BRIDGE
    },
];

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

/// A histogram of seconds.
const SECONDS: Metric = Metric {
    kind: Kind::Histogram,
    unit: Unit::Seconds,
    ..RULE
};

const RULE: Metric = Metric {
    origin: Origin::Rule,
    ..GUIDE
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
