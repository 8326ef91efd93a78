"""A Prometheus that scrapes one page, and what that costs by its own account."""

import contextlib
import json
import statistics
import sys
import time
import urllib.parse

from filled import text
from processes import cpu_nanoseconds, end, free_ports, tool, until_answered

# The names that the metrics guide asks for, as far as renaming leads to them: bins
# stay bins, since no rule can add them up, and nanoseconds stay nanoseconds.
RELABELLING = [
    {"source_labels": ["__name__"], "regex": "wasm_.*|server_.*", "action": "drop"},
    {
        "source_labels": ["__name__"],
        "regex": "(.+)_bin",
        "target_label": "__name__",
        "replacement": "${1}_bucket",
    },
    {
        "source_labels": ["__name__"],
        "regex": "(.+)_nanoseconds_sum",
        "target_label": "__name__",
        "replacement": "${1}_seconds_sum",
    },
    {"regex": "envoy_.*", "action": "labeldrop"},
]


@contextlib.contextmanager
def prometheus(folder, port, path, rules, interval):
    """Runs one that scrapes this page by these rules: its process and its port."""
    path, _, query = path.partition("?")
    (own,) = free_ports(1)
    job = {
        "job_name": "page",
        "metrics_path": path,
        "params": urllib.parse.parse_qs(query),
        "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
        "metric_relabel_configs": list(rules),
    }
    times = {"scrape_interval": f"{interval}s", "scrape_timeout": f"{interval}s"}
    config = folder / f"{own}.json"
    config.write_text(json.dumps({"global": times, "scrape_configs": [job]}))
    command = [tool("prometheus"), f"--config.file={config}"]
    command += [f"--storage.tsdb.path={folder / str(own)}"]
    command += [f"--web.listen-address=127.0.0.1:{own}", "--log.level=error"]
    process = until_answered("Prometheus", command, folder / f"{own}.log", f"127.0.0.1:{own}/-/ready")
    try:
        yield process, own
    finally:
        end([process])


def scraped(folder, port, path, rules, count, interval):
    """Of so many scrapes after the first two: the median of their time in milliseconds,
    the samples kept of one, and the CPU of Prometheus for one in milliseconds.

    `interval`, in seconds, is the time between two of them, and the most for one.
    """
    with prometheus(folder, port, path, rules, interval) as (process, own):
        _wait_for(own, 2, interval)
        before = cpu_nanoseconds(process.pid)
        # Whoever asks meanwhile how far it is makes it work, too.
        time.sleep(count * interval)
        cpu = (cpu_nanoseconds(process.pid) - before) / count / 1e6
        _wait_for(own, 2 + count, interval)
        if not all(_values(own, "up")):
            sys.exit("Prometheus could not scrape; is the interval too short?")
        seconds = _values(own, "scrape_duration_seconds")[2:]
        samples = _values(own, "scrape_samples_post_metric_relabeling")
    return statistics.median(seconds) * 1000, int(samples[-1]), cpu


def _wait_for(port, scrapes, interval):
    deadline = time.monotonic() + 3 * interval * (scrapes + 2)
    while len(_values(port, "up")) < scrapes:
        if time.monotonic() > deadline:
            sys.exit("Prometheus does not scrape")
        time.sleep(0.05)


def _values(port, series):
    query = urllib.parse.quote(f"{series}[10m]")
    found = json.loads(text(port, f"/api/v1/query?query={query}"))["data"]["result"]
    return [float(value) for _, value in found[0]["values"]] if found else []
