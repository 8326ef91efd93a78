"""A service's own page, of the official client: every type that it knows.

usage: client_page.py openmetrics|text
"""

import sys

from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary
from prometheus_client.exposition import generate_latest as text
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics


def main():
    registry = CollectorRegistry()
    jobs = Counter("jobs", 'Jobs done, with "quotes",\na second line and a \\', ["queue"], registry=registry)
    for queue in ("mail", 'a "quoted" one', "back\\slash", "two\nlines", "\u00e9\u4e2d\U0001f600", ""):
        jobs.labels(queue).inc(3)
    requests = Counter("http_requests", "The same name as Envoy's", ["path"], registry=registry)
    requests.labels("/own").inc(7)
    # Of another type on Envoy's side.
    Summary("search_query_duration_seconds", "A summary", registry=registry).observe(1)
    for name, value in (("nan", "nan"), ("inf", "inf"), ("small", 5e-324), ("large", 1.7976931348623157e308)):
        Gauge(f"value_{name}", "A value", registry=registry).set(value)
    Summary("work_seconds", "A summary", registry=registry, unit="seconds").observe(0.25)
    latency = Histogram("work_latency_seconds", "A histogram", ["kind"], registry=registry, unit="seconds")
    for seconds in (0.001, 0.3, 100):
        latency.labels("a").observe(seconds, {"trace_id": "abc"})
    Info("built", "An info", registry=registry).info({"version": "1.0", "commit": "abc"})
    Enum("state", "An enum", states=["up", "down"], registry=registry).state("up")
    page = {"openmetrics": openmetrics, "text": text}[sys.argv[1]](registry)
    sys.stdout.buffer.write(page)


if __name__ == "__main__":
    main()
