"""The queries of the metrics guide, as they stand there."""

RATE = "rate(http_requests_total[5m])"

AVERAGE = """\
rate(http_request_duration_seconds_sum[5m]) /
rate(http_request_duration_seconds_count[5m])"""

P95 = """\
histogram_quantile(0.95,
  rate(http_request_duration_seconds_bucket[5m])
)"""

ERRORS = """\
sum(rate(http_requests_total{status=~"5.."}[5m])) /
sum(rate(http_requests_total[5m]))"""

HIT_RATE = """\
sum(rate(cache_hits_total[5m])) /
(sum(rate(cache_hits_total[5m])) + sum(rate(cache_misses_total[5m])))"""

POOL = """\
db_connections_active /
(db_connections_active + db_connections_idle)"""
