"""What the preset `playback` adds: starts, bitrates and stalls of players."""

from panels import SERVICE, UNIT, Board, per_second, quantiles

INIT = "stream_init_duration_seconds"
STARTS = per_second(INIT + "_count", SERVICE)
STALLS = per_second("stream_buffer_events_total", SERVICE)
CHANGES = per_second("stream_bitrate_changes_total", SERVICE)
STALLS_PER_START = f"({STALLS} or vector(0)) / {STARTS}"

BOARD = (
    Board(
        "gatemeter-playback",
        "Gatemeter / Playback service",
        "What players say of themselves (CMCD), from the preset playback.",
    )
    .of_a_preset(INIT + "_count")
    .row("Now")
    .number("Starts", UNIT.OpsPerSecond, STARTS, "Streams that began to play.", width=6)
    .p95("Start", INIT, "95 of 100 streams began sooner.")
    .number(
        "Stalls",
        UNIT.OpsPerSecond,
        f"{STALLS} or vector(0)",
        "Requests of players whose buffer had run empty.",
        width=6,
    )
    .number(
        "Stalls per start",
        UNIT.Short,
        STALLS_PER_START,
        "How often a viewing stalls, on average.",
        width=6,
        bad_from=2,
    )
    .row("Starts")
    .heat("Starts by their time", INIT, SERVICE, "How many starts fell into which bucket.")
    .graph(
        "Time to start",
        UNIT.Seconds,
        quantiles(INIT, SERVICE),
        "As players say it, or from their first request to the first segment they play.",
        width=12,
    )
    .row("Bitrates and stalls")
    .graph(
        "Changes of the bitrate",
        UNIT.OpsPerSecond,
        [(per_second("stream_bitrate_changes_total", SERVICE, "direction"), "{{direction}}")],
        "Down is a player whose connection got worse.",
    )
    .graph(
        "Stalls over time",
        UNIT.OpsPerSecond,
        [(f"{STALLS} or vector(0)", "stalls")],
        "Requests of players whose buffer had run empty.",
    )
    .graph(
        "For each start",
        UNIT.Short,
        [(STALLS_PER_START, "stalls"), (f"({CHANGES} or vector(0)) / {STARTS}", "changes of bitrate")],
        "How often, on average, in a viewing.",
    )
    .row("Sessions")
    .graph(
        "Sessions forgotten to make room",
        UNIT.OpsPerSecond,
        [(f"{per_second('gatemeter_sessions_evicted_total', SERVICE)} or vector(0)", "evicted")],
        "Above 0 there are more players than Envoy remembers, and starts and changes are missed.",
        width=12,
    )
    .graph(
        "Sent to players",
        UNIT.BytesPerSecondIEC,
        [(per_second("http_connection_sent_bytes_total", SERVICE), "sent")],
        "By Envoy, with headers and framing.",
        width=12,
    )
)
