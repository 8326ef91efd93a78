#!/usr/bin/env python3
"""What a page of the bridge costs, beside Envoy's own pages of the same stats.

A real Envoy with the module gets so many routes, methods and statuses that it holds
so many stats; Envoy's fault filter delays the requests, so that every series has
observations in most of its bins. Then in turn, round after round: Envoy's /stats with
the filter that the bridge sends, Envoy's /stats/prometheus of the same stats (with the
tags that make labels of them), the bridge's /metrics, and the same with gzip. The CPU of
the bridge is that of all of its threads, that of Envoy's main thread its own, from
/proc/PID/task/*/schedstat; memory is VmHWM and VmRSS of /proc/PID/status. Then 100
scrapers at once; a Prometheus that scrapes the bridge, and one that scrapes Envoy's page
and relabels it; and many scrapes in a row. Linux only; needs what `make tools build`
leaves.

    usage: bench/page.py [ROUNDS] [SCRAPES_IN_A_ROW] [--stats N,N,...] [--scrapes N]

BRIDGE=path measures another binary.
"""

import argparse
import json
import os
import re
import socket
import statistics
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from envoys import MODULE, ROOT, TYPE, cpu_nanoseconds, free_ports, module, start, tool, until_answered

BRIDGE = Path(os.environ.get("BRIDGE", ROOT / "target" / "release" / "gatemeter-bridge"))
# Bounds and delays in milliseconds: one delay falls into each bin.
BOUNDS = [5 * bin + 3 for bin in range(11)]
DELAYS = [5 * bin for bin in range(12)]
SETS = [("GET", 200), ("POST", 200), ("GET", 404)]
# 13 stats for each set and 2 for each method.
STATS_PER_ROUTE = 13 * len(SETS) + 2
# As many as a configuration of the filter may have.
MOST_ROUTES = 10_000
CONNECTIONS = 200
SCRAPERS = 100
# Seconds between two scrapes of Prometheus.
INTERVAL = 2
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


def constant(name):
    """A text constant of the bridge's decoder."""
    source = (ROOT / "bridge" / "src" / "decode.rs").read_text()
    return re.search(rf'const {name}: &str = "([^"]+)"', source).group(1)


def stats_tags():
    """The tags of the shipped configuration."""
    shipped = (ROOT / "envoy" / "envoy.yaml").read_text()
    tags = re.findall(r"tag_name: (\S+), regex: '([^']+)'", shipped)
    return [{"tag_name": name, "regex": regex} for name, regex in tags]


def ask(port, path, headers=""):
    """A connection on which the request is written already."""
    request = f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n"
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(request.encode())
    return connection


def answer_size(connection):
    """Waits until the whole answer is there; how many bytes it has."""
    buffer = bytearray(1 << 20)
    with connection:
        size = connection.recv_into(buffer)
        if not buffer.startswith(b"HTTP/1.1 200"):
            sys.exit(f"no page: {bytes(buffer[:size])}")
        while read := connection.recv_into(buffer):
            size += read
    return size


def fetch(*request):
    """Seconds until the whole answer was there, and how many bytes it had."""
    begin = time.perf_counter()
    size = answer_size(ask(*request))
    return time.perf_counter() - begin, size


def all_at_once(*request):
    """Seconds until many scrapers that ask at the same moment have their answers."""
    begin = time.perf_counter()
    connections = [ask(*request) for _ in range(SCRAPERS)]
    with ThreadPoolExecutor(SCRAPERS) as pool:
        list(pool.map(answer_size, connections))
    return time.perf_counter() - begin


def text(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.read().decode()


def stat(admin, name):
    return int(re.search(rf"^{re.escape(name)}: (\d+)", text(admin, "/stats"), re.M).group(1))


def fill(port, routes):
    """One request for each bin of each set, on many connections, each one after the other."""
    requests = []
    for delay in DELAYS:
        for route in routes:
            for method, status in SETS:
                requests.append(
                    f"{method} /api/route-{route}/7 HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n"
                    f"x-status: {status}\r\nx-envoy-fault-delay-request: {delay}\r\n\r\n"
                )

    def drive(number):
        own = requests[number::CONNECTIONS]
        with socket.create_connection(("127.0.0.1", port)) as connection:
            for request in own:
                connection.sendall(request.encode())
                answer = b""
                while b"\r\n\r\n" not in answer:
                    answer += connection.recv(4096)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(drive, range(CONNECTIONS)))


def filled_envoy(folder, stats):
    """An Envoy with so many stats: its process and the port of its admin interface."""
    # On a busy machine some delays fall into one bin, so more routes may be needed.
    routes = min(3 * stats // STATS_PER_ROUTE, MOST_ROUTES)
    plugin = {
        "service": "api",
        "routes": [f"/api/route-{route}/:id" for route in range(routes)],
        "buckets": [bound / 1000 for bound in BOUNDS],
        "max_series": 50_000,
    }
    fault = {
        "name": "fault",
        "typed_config": {
            "@type": TYPE + "filters.http.fault.v3.HTTPFault",
            "delay": {"header_delay": {}, "percentage": {"numerator": 100}},
        },
    }
    match = {
        "prefix": "/",
        "headers": [{"name": "x-status", "string_match": {"exact": "404"}}],
    }
    process, port, admin = start(
        folder,
        "Envoy",
        [module("filters.http.wasm.v3.Wasm", plugin), fault],
        [],
        routes=[
            {"match": match, "direct_response": {"status": 404}},
            {"match": {"prefix": "/"}, "direct_response": {"status": 200}},
        ],
        tags=stats_tags(),
    )
    stats_path, filled = constant("STATS_PATH"), 0
    while (held := text(admin, stats_path).count("\n")) < stats:
        if filled == routes:
            sys.exit(f"{held} stats instead of {stats}; is the machine overloaded?")
        more = min(routes - filled, (stats - held) // STATS_PER_ROUTE + 1)
        fill(port, range(filled, filled + more))
        filled += more
        time.sleep(2)  # the workers' counts reach Envoy at the next tick
    return process, admin


def bridge(folder, admin):
    (port,) = free_ports(1)
    command = [str(BRIDGE), "--envoy.admin", f"http://127.0.0.1:{admin}"]
    command += ["--web.listen-address", f"127.0.0.1:{port}", "--log.level", "warn"]
    log = folder / f"bridge-{port}.log"
    return until_answered("the bridge", command, log, f"127.0.0.1:{port}/-/healthy"), port


def memory(process, key):
    """Bytes, by a key of /proc/PID/status."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(rf"^{key}:\s+(\d+) kB", status, re.M).group(1)) * 1024


def main_thread_nanoseconds(process):
    """CPU of the main thread, on which Envoy answers its admin interface."""
    schedstat = Path(f"/proc/{process.pid}/task/{process.pid}/schedstat").read_text()
    return int(schedstat.split()[0])


class Prometheus:
    """A Prometheus that scrapes one page; its own CPU, and what it says of the scrapes."""

    def __init__(self, folder, page, rules=()):
        port, path, _ = page
        path, _, query = path.partition("?")
        (self.port,) = free_ports(1)
        job = {
            "job_name": "page",
            "metrics_path": path,
            "params": urllib.parse.parse_qs(query),
            "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
            "metric_relabel_configs": list(rules),
        }
        interval = {"scrape_interval": f"{INTERVAL}s", "scrape_timeout": f"{INTERVAL}s"}
        config = folder / f"{self.port}.json"
        config.write_text(json.dumps({"global": interval, "scrape_configs": [job]}))
        command = [tool("prometheus"), f"--config.file={config}"]
        command += [f"--storage.tsdb.path={folder / str(self.port)}"]
        command += [f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=error"]
        log = folder / f"{self.port}.log"
        url = f"127.0.0.1:{self.port}/-/ready"
        self.process = until_answered("Prometheus", command, log, url)

    def scrapes(self, count):
        """Medians of so many scrapes after the first two: seconds and samples kept of
        one, and the CPU of the process in milliseconds."""
        self.wait_for(2)
        before = cpu_nanoseconds(self.process.pid)
        self.wait_for(2 + count)
        cpu = (cpu_nanoseconds(self.process.pid) - before) / count / 1e6
        if not all(self.values("up")):
            sys.exit("Prometheus could not scrape; is the interval too short?")
        seconds = self.values("scrape_duration_seconds")[2:]
        samples = self.values("scrape_samples_post_metric_relabeling")
        return statistics.median(seconds) * 1000, int(samples[-1]), cpu

    def wait_for(self, scrapes):
        deadline = time.monotonic() + 3 * INTERVAL * (scrapes + 2)
        while len(self.values("up")) < scrapes:
            if time.monotonic() > deadline:
                sys.exit("Prometheus does not scrape")
            time.sleep(0.05)

    def values(self, series):
        query = urllib.parse.quote(f"{series}[10m]")
        found = json.loads(text(self.port, f"/api/v1/query?query={query}"))["data"]["result"]
        return [float(value) for _, value in found[0]["values"]] if found else []


def scraped(folder, page, rules, scrapes):
    prometheus = Prometheus(folder, page, rules)
    try:
        return prometheus.scrapes(scrapes)
    finally:
        prometheus.process.terminate()
        prometheus.process.wait()


def measured(folder, stats, rounds, scrapes):
    """What everything costs with so many stats: a row of figures, by their names."""
    envoy, admin = filled_envoy(folder, stats)
    reader, port = bridge(folder, admin)
    stats_path = constant("STATS_PATH")
    ways = {
        "stats": (admin, stats_path, ""),
        "prometheus": (admin, stats_path.replace("/stats", "/stats/prometheus"), ""),
        "page": (port, "/metrics", ""),
        "gzip": (port, "/metrics", "accept-encoding: gzip\r\n"),
    }
    try:
        held = text(admin, stats_path).count("\n")
        times = {way: [] for way in ways}
        cpus = {way: [] for way in ways}
        busy = {way: [] for way in ways}
        sizes = {}
        for turn in range(rounds + 2):
            for way, request in ways.items():
                before = cpu_nanoseconds(reader.pid), main_thread_nanoseconds(envoy)
                seconds, sizes[way] = fetch(*request)
                time.sleep(0.01)
                after = cpu_nanoseconds(reader.pid), main_thread_nanoseconds(envoy)
                if turn > 1:  # the first rounds warm up
                    times[way].append(seconds * 1000)
                    cpus[way].append((after[0] - before[0]) / 1e6)
                    busy[way].append((after[1] - before[1]) / 1e6)
        peak = memory(reader, "VmHWM")
        asked = stat(admin, "http.admin.downstream_rq_total")
        all_took = all_at_once(*ways["gzip"])
        # The question itself is one request.
        reads = stat(admin, "http.admin.downstream_rq_total") - asked - 1
        peak_of_many = memory(reader, "VmHWM")
        from_bridge = scraped(folder, ways["page"], (), scrapes) if scrapes else None
        from_envoy = scraped(folder, ways["prometheus"], RELABELLING, scrapes) if scrapes else None
    finally:
        for process in (reader, envoy):
            process.terminate()
            process.wait()
    took = {way: statistics.median(times[way]) for way in ways}
    cpu = {way: statistics.median(cpus[way]) for way in ways}
    main = {way: statistics.median(busy[way]) for way in ways}

    def pairs(of, way, other):
        return statistics.median(a / b for a, b in zip(of[way], of[other]))

    row = {
        "stats": f"{held:,}",
        "bytes of Envoy's `/stats`; `/stats/prometheus`": f"{sizes['stats']:,}; {sizes['prometheus']:,}",
        "bytes of the page; with gzip": f"{sizes['page']:,}; {sizes['gzip']:,}",
        "Envoy's `/stats`; `/stats/prometheus`, ms": f"{took['stats']:.1f}; {took['prometheus']:.1f}",
        "page, end to end; with gzip, ms": f"{took['page']:.1f}; {took['gzip']:.1f}",
        "of Envoy's `/stats/prometheus`, median of pairs (at most 0.80)":
            f"{pairs(times, 'page', 'prometheus'):.2f}",
        "CPU of the bridge a page; with gzip, ms": f"{cpu['page']:.1f}; {cpu['gzip']:.1f}",
        "of Envoy's time for `/stats` (at most 0.25)": f"{cpu['page'] / took['stats']:.2f}",
        "CPU of Envoy's main thread for `/stats`; `/stats/prometheus`, ms":
            f"{main['stats']:.1f}; {main['prometheus']:.1f}",
        "the same for the bridge's read, ms": f"{main['page']:.1f}",
        "of that for `/stats`, median of pairs (at most 1)": f"{pairs(busy, 'page', 'stats'):.2f}",
        "peak memory of the bridge, MB": f"{peak / 1e6:.1f}",
        "in pages (at most 4)": f"{peak / sizes['page']:.1f}",
        f"{SCRAPERS} scrapers at once, gzip: reads of Envoy (at most 2)": str(reads),
        "all have their page, ms; peak memory, MB":
            f"{all_took * 1000:.0f}; {peak_of_many / 1e6:.1f}",
    }
    if scrapes:
        for name, (ms, samples, own) in (
            ("the bridge's page", from_bridge),
            ("Envoy's Prometheus page, relabelled", from_envoy),
        ):
            row[f"Prometheus scrapes {name}: ms; its CPU, ms; samples"] = (
                f"{ms:.0f}; {own:.0f}; {samples:,}"
            )
    return row


def in_a_row(folder, scrapes):
    """Memory after a tenth and after all of many scrapes."""
    envoy, admin = filled_envoy(folder, 1000)
    reader, port = bridge(folder, admin)
    try:
        resident = {}
        for scrape in range(1, scrapes + 1):
            fetch(port, "/metrics", "accept-encoding: gzip\r\n" if scrape % 2 else "")
            if scrape in (scrapes // 10, scrapes):
                resident[scrape] = memory(reader, "VmRSS")
    finally:
        for process in (reader, envoy):
            process.terminate()
            process.wait()
    after = ", ".join(f"{held / 1e6:.2f} MB after {scrape}" for scrape, held in resident.items())
    print(f"\nscrapes in a row of 1,000 stats: {after}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("rounds", nargs="?", type=int, default=15)
    arguments.add_argument("in_a_row", nargs="?", type=int, default=10_000)
    arguments.add_argument("--stats", default="10000,100000", help="numbers of stats, with commas")
    arguments.add_argument("--scrapes", type=int, default=5, help="of Prometheus; 0: without it")
    asked = arguments.parse_args()
    for needed in (MODULE, BRIDGE):
        if not needed.exists():
            sys.exit(f"{needed} is missing; run: make build")
    with tempfile.TemporaryDirectory(prefix="gatemeter-bench-") as folder:
        folder = Path(folder)
        sizes = [int(stats) for stats in asked.stats.split(",")]
        rows = [measured(folder, stats, asked.rounds, asked.scrapes) for stats in sizes]
        print(f"{asked.rounds} interleaved rounds, medians\n")
        (head, *figures) = rows[0]
        print(f"| {head} | {' | '.join(row[head] for row in rows)} |")
        print("|---" * (len(rows) + 1) + "|")
        for figure in figures:
            print(f"| {figure} | {' | '.join(row[figure] for row in rows)} |")
        if asked.in_a_row:
            in_a_row(folder, asked.in_a_row)


if __name__ == "__main__":
    main()
