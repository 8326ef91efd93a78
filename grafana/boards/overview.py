"""All services side by side: rate, errors, duration."""

import guide
from panels import REQUESTS, SECONDS, UNIT, Board, errors, per_second, quantile

ALL = 'service=~"$service"'

BOARD = (
    Board(
        "gatemeter-overview",
        "Gatemeter / Services",
        "Requests, errors and durations of all services behind Envoy.",
    )
    .choose("service", "Service", REQUESTS, "service", several=True)
    .link("Gatemeter itself", "gatemeter-self", "Health and cost of filter and bridge")
    .row("Now")
    .number(
        "Requests",
        UNIT.RequestsPerSecond,
        per_second(REQUESTS, ALL),
        "Requests that ended, over all services.",
    )
    .errors_now(ALL)
    .number(
        "p95",
        UNIT.Seconds,
        quantile("0.95", SECONDS, ALL),
        "95 of 100 requests took less. Between two bounds of the histogram it is an estimate.",
    )
    .open_now(ALL)
    .number(
        "Targets down",
        UNIT.Short,
        "count (up == 0) or vector(0)",
        "Pages that Prometheus could not read.",
        bad_from=1,
    )
    .number(
        "Alerts firing",
        UNIT.Short,
        'count (ALERTS{alertstate="firing"}) or vector(0)',
        "Of the rules in prometheus/rules, and any others.",
        bad_from=1,
    )
    .row("Rate, errors, duration")
    .graph(
        "Requests by service",
        UNIT.RequestsPerSecond,
        [(per_second(REQUESTS, ALL, "service"), "{{service}}")],
        "Requests that ended.",
    )
    .graph(
        "Errors by service",
        UNIT.PercentUnit,
        [(errors(ALL, "service"), "{{service}}")],
        "Share of requests answered with 5xx, by the service or by Envoy in its place.",
    )
    .graph(
        "p95 by service",
        UNIT.Seconds,
        [(quantile("0.95", SECONDS, ALL, "service"), "{{service}}")],
        "95 of 100 requests took less.",
    )
    .by_status(ALL)
    .graph(
        "Open by service",
        UNIT.Short,
        [(f"sum by (service) (active_connections{{{ALL}}})", "{{service}}")],
        "Requests and WebSockets that are open in Envoy.",
    )
    .graph(
        "Cache hit ratio by service",
        UNIT.PercentUnit,
        [
            (
                f"{per_second('cache_hits_total', ALL, 'service')} / ({per_second('cache_hits_total', ALL, 'service')} + {per_second('cache_misses_total', ALL, 'service')})",
                "{{service}}",
            )
        ],
        "Of the lookups that were answered; caches that were not asked do not count.",
        top=1,
    )
    .table(
        "Services",
        "service",
        [
            ("Requests", UNIT.RequestsPerSecond, per_second(REQUESTS, ALL, "service")),
            ("Errors", UNIT.PercentUnit, errors(ALL, "service")),
            ("p50", UNIT.Seconds, quantile("0.5", SECONDS, ALL, "service")),
            ("p95", UNIT.Seconds, quantile("0.95", SECONDS, ALL, "service")),
            ("p99", UNIT.Seconds, quantile("0.99", SECONDS, ALL, "service")),
            ("Open", UNIT.Short, f"sum by (service) (active_connections{{{ALL}}})"),
        ],
        "Click a service to see it in depth.",
        to="gatemeter-service",
    )
    .row("Objectives (from prometheus/rules)")
    .graph(
        "Error budget burn",
        UNIT.Short,
        [("service:slo_errors:burnrate1h" + f"{{{ALL}}}", "{{service}}")],
        "1 uses up the budget of 30 days in 30 days; 14.4 for an hour is a page. Needs prometheus/rules.",
        width=12,
    )
    .graph(
        "Latency budget burn",
        UNIT.Short,
        [("service:slo_latency:burnrate1h" + f"{{{ALL}}}", "{{service}}")],
        "The same for requests slower than the service's objective. Needs prometheus/rules.",
        width=12,
    )
    .row("The metrics guide's queries, as they stand there")
    .graph(
        "Request Rate (requests/sec)",
        UNIT.RequestsPerSecond,
        [(guide.RATE, "{{service}} {{method}} {{path}} {{status}}")],
        "Each series by itself.",
    )
    .graph(
        "Average Request Duration",
        UNIT.Seconds,
        [(guide.AVERAGE, "{{service}} {{method}} {{path}}")],
        "Each method and path of each service.",
    )
    .graph(
        "95th Percentile Latency",
        UNIT.Seconds,
        [(guide.P95, "{{service}} {{method}} {{path}}")],
        "Each method and path of each service.",
    )
    .graph(
        "Error Rate (5xx responses)",
        UNIT.PercentUnit,
        [(guide.ERRORS, "errors")],
        "Over all services; no line where there was no 5xx ever.",
    )
    .graph(
        "Cache Hit Rate", UNIT.PercentUnit, [(guide.HIT_RATE, "hits")], "Over all services and caches.", top=1
    )
    .graph(
        "Database Pool Utilization",
        UNIT.PercentUnit,
        [(guide.POOL, "{{service}}")],
        "Connections in use, of those that are open.",
        top=1,
    )
)
