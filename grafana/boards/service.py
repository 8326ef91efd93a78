"""One service in depth: routes, status, latency, caches, pool, connections."""

from panels import (
    REQUESTS,
    SECONDS,
    SERVICE,
    UNIT,
    Board,
    errors,
    happened,
    per_second,
    quantile,
    quantiles,
)

ROUTES = SERVICE + ',path=~"$route"'
HITS = per_second("cache_hits_total", SERVICE, "cache_type")
MISSES = per_second("cache_misses_total", SERVICE, "cache_type")


def mean(by):
    return f"{per_second(SECONDS + '_sum', ROUTES, by)} / {per_second(SECONDS + '_count', ROUTES, by)}"


BOARD = (
    Board("gatemeter-service", "Gatemeter / Service", "One service behind Envoy in depth.")
    .choose("service", "Service", REQUESTS, "service", several=False)
    .choose("route", "Route", f"{REQUESTS}{{{SERVICE}}}", "path", several=True)
    .link("All services", "gatemeter-overview", "All services side by side")
    .link("Gatemeter itself", "gatemeter-self", "Health and cost of filter and bridge")
    .row("Now")
    .number("Requests", UNIT.RequestsPerSecond, per_second(REQUESTS, ROUTES), "Requests that ended.")
    .errors_now(ROUTES)
    .number("p50", UNIT.Seconds, quantile("0.5", SECONDS, ROUTES), "Half of the requests took less.")
    .number("p95", UNIT.Seconds, quantile("0.95", SECONDS, ROUTES), "95 of 100 requests took less.")
    .number("p99", UNIT.Seconds, quantile("0.99", SECONDS, ROUTES), "99 of 100 requests took less.")
    .open_now(SERVICE)
    .row("Routes and status")
    .graph(
        "Requests by route",
        UNIT.RequestsPerSecond,
        [(per_second(REQUESTS, ROUTES, "path"), "{{path}}")],
        "_UNMATCHED: no template. _OVERFLOW: all label sets were in use.",
    )
    .by_status(ROUTES)
    .graph(
        "Requests by method",
        UNIT.RequestsPerSecond,
        [(per_second(REQUESTS, ROUTES, "method"), "{{method}}")],
        "_OTHER: none of the ten known methods.",
    )
    .graph(
        "Errors by route",
        UNIT.PercentUnit,
        [(errors(ROUTES, "path"), "{{path}}")],
        "Share of requests answered with 5xx.",
    )
    .graph(
        "Errors that Envoy had a part in",
        UNIT.RequestsPerSecond,
        [(happened("http_local_replies_total", SERVICE, "reason"), "{{reason}}")],
        "By response flag: UF could not connect, UH no healthy host, UT timeout. All other 5xx are the service's own. All routes.",
    )
    .graph(
        "Responses cut after their headers",
        UNIT.RequestsPerSecond,
        [(happened("http_responses_incomplete_total", SERVICE, "reason"), "{{reason}}")],
        "Their status says nothing of it. All routes.",
    )
    .row("Latency")
    .heat("Durations", SECONDS, ROUTES, "How many requests fell into which bucket.")
    .graph(
        "Percentiles",
        UNIT.Seconds,
        quantiles(SECONDS, ROUTES),
        "Between two bounds of the histogram an estimate; docs/queries.md says how good.",
        width=12,
    )
    .graph(
        "p95 by route",
        UNIT.Seconds,
        [(quantile("0.95", SECONDS, ROUTES, "path"), "{{path}}")],
        "95 of 100 requests took less.",
        width=12,
    )
    .graph(
        "Mean by route",
        UNIT.Seconds,
        [(mean("path"), "{{path}}")],
        "Exact: a sum of nanoseconds over a count.",
        width=12,
    )
    .row("Caches")
    .graph(
        "Hit ratio",
        UNIT.PercentUnit,
        [(f"{HITS} / ({HITS} + {MISSES})", "{{cache_type}}")],
        "Of the lookups that were answered, by cache.",
        width=12,
        top=1,
    )
    .graph(
        "Responses by what the cache did",
        UNIT.RequestsPerSecond,
        [(happened("cache_responses_total", SERVICE, "cache_type", "result"), "{{cache_type}} {{result}}")],
        "Bypassed and unreadable ones are in no ratio.",
        width=12,
        stacked=True,
    )
    .row("Pool and connections")
    .graph(
        "Database pool",
        UNIT.Short,
        [
            (f"sum (db_connections_active{{{SERVICE}}})", "active"),
            (f"sum (db_connections_idle{{{SERVICE}}})", "idle"),
        ],
        "As the service last said on a response.",
        stacked=True,
    )
    .graph(
        "Database pool utilization",
        UNIT.PercentUnit,
        [
            (
                f"db_connections_active{{{SERVICE}}} / (db_connections_active{{{SERVICE}}} + db_connections_idle{{{SERVICE}}})",
                "utilization",
            )
        ],
        "Of the connections that are open, not of those that the pool may open.",
        top=1,
    )
    .graph(
        "Open requests and WebSockets",
        UNIT.Short,
        [(f"sum (active_connections{{{SERVICE}}})", "open")],
        "In Envoy, without scrapes.",
    )
    .graph(
        "Bytes on the wire",
        UNIT.BytesPerSecondIEC,
        [
            (per_second("http_connection_received_bytes_total", SERVICE), "received"),
            (per_second("http_connection_sent_bytes_total", SERVICE), "sent"),
        ],
        "Between clients and Envoy, with headers and framing.",
        width=24,
    )
)
