"""Gatemeter itself: health and cost of the filter, the bridge, the series budget."""

from panels import UNIT, Board, happened, per_second

ALL = 'service=~"$service"'
ANY = 'job=~".+"'

BOARD = (
    Board(
        "gatemeter-self",
        "Gatemeter / Gatemeter itself",
        "Health and cost of the filter and the bridge, and how much of the series budget is in use.",
    )
    .choose("service", "Service", "gatemeter_filter_info", "service", several=True)
    .link("All services", "gatemeter-overview", "All services side by side")
    .row("Now")
    .number(
        "Envoy readable", UNIT.Short, "min (gatemeter_up)", "1: the bridge can read every Envoy.", good_from=1
    )
    .number(
        "Oldest heartbeat",
        UNIT.Seconds,
        f"max (gatemeter_filter_heartbeat_age_seconds{{{ALL}}})",
        "How long the quietest filter has not ticked; they tick ten times a second.",
        bad_from=60,
    )
    .number(
        "VM reloads in an hour",
        UNIT.Short,
        f"sum (increase(gatemeter_vm_reloads_total{{{ANY}}}[1h])) or vector(0)",
        "A plugin trapped; it need not be Gatemeter's.",
        bad_from=1,
    )
    .number(
        "Series budget in use",
        UNIT.PercentUnit,
        f"max (gatemeter_series{{{ALL}}} / gatemeter_series_limit{{{ALL}}})",
        "Of the service that is nearest to its limit.",
        bad_from=0.8,
    )
    .number(
        "Scrape",
        UNIT.Seconds,
        "max (sum by (instance) (gatemeter_scrape_duration_seconds))",
        "All phases of the bridge's last scrape.",
        bad_from=1,
    )
    .number(
        "Configuration in use",
        UNIT.Short,
        "min (gatemeter_config_last_reload_successful)",
        "0: the last one that was read was refused, and the one before is in use.",
        good_from=1,
    )
    .row("Filter")
    .graph(
        "Ticks",
        UNIT.OpsPerSecond,
        [(per_second("gatemeter_filter_ticks_total", ALL, "service"), "{{service}}")],
        "In all VMs, one for each worker of Envoy and one for its main thread. A filter that stops ticking is dead.",
    )
    .graph(
        "Age of the heartbeat",
        UNIT.Seconds,
        [(f"max by (service) (gatemeter_filter_heartbeat_age_seconds{{{ALL}}})", "{{service}}")],
        "0 while the filter ticks.",
    )
    .graph(
        "VM reloads",
        UNIT.OpsPerSecond,
        [(happened("gatemeter_vm_reloads_total", ANY, "plugin", "result"), "{{plugin}} {{result}}")],
        "A plugin trapped, and its VM was started anew (success), could not be (failure), or had to wait (backoff).",
    )
    .graph(
        "Host calls that failed",
        UNIT.OpsPerSecond,
        [(happened("gatemeter_filter_errors_total", ALL, "reason"), "{{reason}}")],
        "By call. Counts may be missing while it is above 0.",
    )
    .graph(
        "Signal headers that could not be read",
        UNIT.OpsPerSecond,
        [(happened("gatemeter_signal_errors_total", ALL, "signal"), "{{signal}}")],
        "The request still counts; a service, or a player (cmcd), writes what is not to its standard.",
    )
    .graph(
        "Requests apart",
        UNIT.RequestsPerSecond,
        [
            (f"{per_second('gatemeter_excluded_requests_total', ALL)} or vector(0)", "excluded paths"),
            (f"{per_second('gatemeter_internal_redirects_total', ALL)} or vector(0)", "internal redirects"),
            (f"{per_second('gatemeter_unparsed_requests_total', ALL)} or vector(0)", "unparsed"),
        ],
        "In Envoy's count of requests and not in http_requests_total.",
    )
    .graph(
        "VMs",
        UNIT.Short,
        [("sum (gatemeter_vms)", "now"), ("sum (gatemeter_vm_creations_total)", "made since Envoy's start")],
        "Of all plugins. More made while none are added is a plugin that crashes.",
        width=12,
    )
    .graph(
        "Versions",
        UNIT.Short,
        [
            ("count by (version) (gatemeter_filter_info)", "filter {{version}}"),
            ("count by (version) (gatemeter_build_info)", "bridge {{version}}"),
        ],
        "How many services and bridges run which.",
        width=12,
    )
    .row("Series budget")
    .graph(
        "Label sets in use",
        UNIT.PercentUnit,
        [(f"gatemeter_series{{{ALL}}} / gatemeter_series_limit{{{ALL}}}", "{{service}}")],
        "Of max_series of the plugin configuration. At 1, new ones are counted under _OVERFLOW.",
    )
    .graph(
        "Label sets",
        UNIT.Short,
        [(f"sum by (service) (gatemeter_series{{{ALL}}})", "{{service}}")],
        "Of method, path and status. Envoy keeps each in memory until it is restarted.",
    )
    .graph(
        "Requests counted under _OVERFLOW",
        UNIT.RequestsPerSecond,
        [(f"{per_second('gatemeter_series_overflows_total', ALL, 'service')} or vector(0)", "{{service}}")],
        "Their path is lost; method and status are not.",
    )
    .row("Bridge")
    .graph(
        "Scrape by phase",
        UNIT.Seconds,
        [("max by (phase) (gatemeter_scrape_duration_seconds)", "{{phase}}")],
        "envoy: waiting for Envoy's answer. render: of the page before.",
        stacked=True,
    )
    .graph(
        "Sizes",
        UNIT.BytesIEC,
        [
            ("sum (gatemeter_envoy_answer_bytes)", "Envoy's answer"),
            ("sum (process_resident_memory_bytes)", "memory of the bridge"),
        ],
        "The answer grows with the number of label sets.",
    )
    .graph(
        "Series on the page",
        UNIT.Short,
        [("sum (gatemeter_page_series)", "series")],
        "Of the page of all services.",
    )
    .graph(
        "What could not be read",
        UNIT.OpsPerSecond,
        [
            (happened("gatemeter_scrape_errors_total", ANY, "reason"), "Envoy: {{reason}}"),
            (happened("gatemeter_dropped_stats_total", ANY, "reason"), "stats: {{reason}}"),
            (happened("gatemeter_source_errors_total", ANY, "reason"), "services' pages: {{reason}}"),
            (
                happened("gatemeter_dropped_series_total", ANY, "reason"),
                "series of services' pages: {{reason}}",
            ),
        ],
        "By reason; each has its line in docs/sources.md.",
    )
    .graph(
        "Processor time of the bridge",
        UNIT.PercentUnit,
        [("sum (rate(process_cpu_seconds_total[$__rate_interval]))", "cores")],
        "1 is one core.",
    )
    .graph(
        "Files and threads of the bridge",
        UNIT.Short,
        [
            ("sum (process_open_fds)", "open files"),
            ("sum (process_threads)", "threads"),
            ("sum (gatemeter_envoy_restarts_total)", "restarts of Envoy seen"),
        ],
        "Open files rise with clients.",
    )
)
