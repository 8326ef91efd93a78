"""What the preset `discovery` adds: searches, recommendations, vector database."""

from panels import SERVICE, UNIT, Board, per_second, quantiles, ratio

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
    .of_a_preset("search_queries_total")
    .row("Now")
    .number("Searches", UNIT.OpsPerSecond, QUERIES, "Searches that were answered.", width=6)
    .number("Found nothing", UNIT.PercentUnit, share("empty"), "Share of searches without a result.", width=6)
    .p95("Search", SEARCH)
    .p95("Recommendation", RECOMMEND)
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
    .durations("recommendations", RECOMMEND)
    .row("Vector database")
    .durations("queries", VECTORS)
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
