"""What the preset `discovery` adds: searches, recommendations, vector database."""

from panels import UNIT, Board, per_second, quantile, quantiles, ratio

SERVICE = 'service="$service"'
SEARCH = "search_query_duration_seconds"
RECOMMEND = "recommendation_duration_seconds"
VECTORS = "vector_db_query_duration_seconds"
QUERIES = per_second("search_queries_total", SERVICE)


def share(result):
    return ratio(per_second("search_queries_total", f'{SERVICE},result="{result}"'), QUERIES)


BOARD = (
    Board(
        "gatemeter-discovery",
        "Gatemeter / Discovery service",
        "Searches, recommendations and the vector database, from the preset discovery.",
    )
    .choose("service", "Service", "search_queries_total", "service", several=False)
    .link("The service in depth", "gatemeter-service", "Routes, latency, caches, pool of this service")
    .link("All services", "gatemeter-overview", "All services side by side")
    .row("Now")
    .number("Searches", UNIT.OpsPerSecond, QUERIES, "Searches that were answered.", width=6)
    .number("Found nothing", UNIT.PercentUnit, share("empty"), "Share of searches without a result.", width=6)
    .number(
        "Search p95", UNIT.Seconds, quantile("0.95", SEARCH, SERVICE), "As the service measured it.", width=6
    )
    .number(
        "Recommendation p95",
        UNIT.Seconds,
        quantile("0.95", RECOMMEND, SERVICE),
        "As the service measured it.",
        width=6,
    )
    .row("Searches")
    .graph(
        "Searches by result",
        UNIT.OpsPerSecond,
        [(per_second("search_queries_total", SERVICE, "result"), "{{result}}")],
        "empty: the service said that it found nothing. error: 5xx.",
        stacked=True,
    )
    .graph(
        "Share without a result, or failed",
        UNIT.PercentUnit,
        [(share("empty"), "empty"), (share("error"), "error")],
        "Of all searches.",
    )
    .graph(
        "Duration of searches",
        UNIT.Seconds,
        quantiles(SEARCH, SERVICE),
        "As the service measured it, without the way through Envoy.",
    )
    .row("Recommendations")
    .heat("Durations of recommendations", RECOMMEND, SERVICE, "How many fell into which bucket.")
    .graph(
        "Duration of recommendations",
        UNIT.Seconds,
        quantiles(RECOMMEND, SERVICE),
        "As the service measured it.",
        width=12,
    )
    .row("Vector database")
    .heat("Durations of queries", VECTORS, SERVICE, "How many fell into which bucket.")
    .graph(
        "Duration of queries",
        UNIT.Seconds,
        quantiles(VECTORS, SERVICE),
        "As the service measured it.",
        width=12,
    )
    .graph(
        "Queries",
        UNIT.OpsPerSecond,
        [(per_second(VECTORS + "_count", SERVICE), "queries")],
        "To the vector database.",
        width=12,
    )
    .graph(
        "Time in the vector database",
        UNIT.Short,
        [
            (per_second(VECTORS + "_sum", SERVICE), "vector database"),
            (per_second(SEARCH + "_sum", SERVICE), "searches"),
            (per_second(RECOMMEND + "_sum", SERVICE), "recommendations"),
        ],
        "Seconds spent in each second: how many are under way on average.",
        width=12,
    )
)
