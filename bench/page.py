#!/usr/bin/env python3
"""What a page of the bridge costs, beside Envoy's own pages of the same stats.

A real Envoy with the module gets so many routes, methods and statuses that it holds
10,000 and 100,000 stats; Envoy's fault filter delays the requests, so that every
series has observations in most of its bins. Then in turn, round after round:
Envoy's /stats with the filter that the bridge sends, Envoy's /stats/prometheus of
the same stats (with the tags that make labels of them), the bridge's /metrics, and
the same with gzip. The CPU of the bridge is that of all of its threads, from
/proc/PID/task/*/schedstat; its memory is VmHWM and VmRSS of /proc/PID/status. Then
100 scrapers at once, and many scrapes in a row. Linux only; needs what
`make tools build` leaves.

    usage: bench/page.py [ROUNDS] [SCRAPES_IN_A_ROW]

BRIDGE=path measures another binary.
"""

import os
import re
import socket
import statistics
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from envoys import MODULE, ROOT, TYPE, cpu_nanoseconds, free_ports, module, start, until_answered

BRIDGE = Path(os.environ.get("BRIDGE", ROOT / "target" / "release" / "gatemeter-bridge"))
SIZES = (10_000, 100_000)
# Bounds and delays in milliseconds: one delay falls into each bin.
BOUNDS = [5 * bin + 3 for bin in range(11)]
DELAYS = [5 * bin for bin in range(12)]
SETS = [("GET", 200), ("POST", 200), ("GET", 404)]
# 13 stats for each set and 2 for each method.
STATS_PER_ROUTE = 13 * len(SETS) + 2
CONNECTIONS = 200
SCRAPERS = 100


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
    routes = 3 * stats // STATS_PER_ROUTE
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


def pages(folder, stats, rounds):
    """The table of one size."""
    envoy, admin = filled_envoy(folder, stats)
    reader, port = bridge(folder, admin)
    stats_path = constant("STATS_PATH")
    ways = {
        "Envoy /stats": (admin, stats_path, ""),
        "Envoy /stats/prometheus": (admin, stats_path.replace("/stats", "/stats/prometheus"), ""),
        "bridge /metrics": (port, "/metrics", ""),
        "bridge /metrics, gzip": (port, "/metrics", "accept-encoding: gzip\r\n"),
    }
    try:
        held = text(admin, stats_path).count("\n")
        times = {way: [] for way in ways}
        cpus = {way: [] for way in ways}
        sizes = {}
        for turn in range(rounds + 2):
            for way, request in ways.items():
                before = cpu_nanoseconds(reader.pid)
                seconds, sizes[way] = fetch(*request)
                time.sleep(0.01)
                if turn > 1:  # the first rounds warm up
                    times[way].append(seconds * 1000)
                    cpus[way].append((cpu_nanoseconds(reader.pid) - before) / 1e6)
        peak = memory(reader, "VmHWM")
        asked = stat(admin, "http.admin.downstream_rq_total")
        all_took = all_at_once(*ways["bridge /metrics, gzip"])
        # The question itself is one request.
        reads = stat(admin, "http.admin.downstream_rq_total") - asked - 1
        peak_of_many = memory(reader, "VmHWM")
    finally:
        for process in (reader, envoy):
            process.terminate()
            process.wait()
    print(f"\n{held} stats, {rounds} interleaved rounds, milliseconds")
    print("| page | min | median | bytes | CPU of the bridge, median |")
    print("|---|---|---|---|---|")
    for way in ways:
        took, cpu = times[way], statistics.median(cpus[way])
        shown = f"{cpu:.1f}" if way.startswith("bridge") else ""
        print(
            f"| {way} | {min(took):.1f} | {statistics.median(took):.1f} | {sizes[way]} | {shown} |"
        )
    ours, own = times["bridge /metrics"], times["Envoy /stats"]
    ratio = statistics.median(a / b for a, b in zip(ours, times["Envoy /stats/prometheus"]))
    share = statistics.median(cpus["bridge /metrics"]) / statistics.median(own)
    page = sizes["bridge /metrics"]
    print(f"page, of Envoy's /stats/prometheus, median of pairs: {ratio:.2f} (at most 0.80)")
    print(f"the bridge's CPU, of Envoy's time for /stats: {share:.2f} (at most 0.25)")
    print(f"peak memory of the bridge: {peak / 1e6:.1f} MB, {peak / page:.1f} pages (at most 4)")
    print(
        f"{SCRAPERS} scrapers at once: {reads} reads of Envoy (at most 2), done in "
        f"{all_took * 1000:.0f} ms, peak memory {peak_of_many / 1e6:.1f} MB"
    )


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
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    scrapes = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    for needed in (MODULE, BRIDGE):
        if not needed.exists():
            sys.exit(f"{needed} is missing; run: make build")
    with tempfile.TemporaryDirectory(prefix="gatemeter-bench-") as folder:
        for stats in SIZES:
            pages(Path(folder), stats, rounds)
        in_a_row(Path(folder), scrapes)


if __name__ == "__main__":
    main()
