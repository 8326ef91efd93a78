"""What the preset `api` adds: authentication and rate limits."""

from panels import SERVICE, UNIT, Board, per_second, ratio

ATTEMPTS = per_second("auth_attempts_total", SERVICE)
FAILURES = per_second("auth_attempts_total", SERVICE + ',result="failure"')
REQUESTS = per_second("http_requests_total", SERVICE)
LIMITED = per_second("rate_limit_hits_total", SERVICE)

BOARD = (
    Board("gatemeter-api", "Gatemeter / API service", "Authentication and rate limits, from the preset api.")
    .of_a_preset("auth_attempts_total")
    .row("Authentication")
    .number("Attempts", UNIT.OpsPerSecond, ATTEMPTS, "Logins that were let in or refused.", width=6)
    .number(
        "Refused",
        UNIT.PercentUnit,
        ratio(FAILURES, ATTEMPTS),
        "Share of attempts that were refused with 401 or 403.",
        width=6,
    )
    .number(
        "Rate limit hits",
        UNIT.RequestsPerSecond,
        f"{LIMITED} or vector(0)",
        "Requests that were answered with 429.",
        width=6,
    )
    .number(
        "Limited",
        UNIT.PercentUnit,
        ratio(LIMITED, REQUESTS),
        "Share of all requests that were answered with 429.",
        width=6,
        bad_from=0.1,
    )
    .graph(
        "Attempts by result",
        UNIT.OpsPerSecond,
        [(per_second("auth_attempts_total", SERVICE, "result"), "{{result}}")],
        "A login that the rate limit refused is no attempt.",
        width=12,
        stacked=True,
    )
    .graph(
        "Share of attempts refused",
        UNIT.PercentUnit,
        [(ratio(FAILURES, ATTEMPTS), "refused")],
        "A rise with many attempts is somebody who guesses.",
        width=12,
        top=1,
    )
    .row("Rate limits")
    .graph(
        "Requests refused by a rate limit",
        UNIT.RequestsPerSecond,
        [(f"{LIMITED} or vector(0)", "refused")],
        "Answered with 429.",
        width=12,
    )
    .graph(
        "Share of requests refused",
        UNIT.PercentUnit,
        [(ratio(LIMITED, REQUESTS), "refused")],
        "Of all requests to the service.",
        width=12,
    )
)
