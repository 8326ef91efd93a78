#!/usr/bin/env python3
"""CPU of Envoy per request, with and without Gatemeter, beside Envoy's own logger.

One Envoy for each variant (--concurrency 1, a route that answers itself), wrk on
loopback (one thread, 8 connections), variants in turn, round after round, so that
a machine that gets slower gets slower for all. CPU is that of all threads of the
Envoy process, from /proc/PID/task/*/schedstat, divided by the requests that wrk
counted. Compare differences and ratios: Envoy against itself varies by half a
microsecond. Linux only; needs what `make tools wasm` leaves.

    usage: bench/request.py [ROUNDS] [SECONDS_PER_RUN]
"""

import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from envoys import MODULE, TYPE, cpu_nanoseconds, module, start, tool

PLUGIN = {"service": "api", "routes": ["/api/content/:id"]}
PATH = "/api/content/42"


def native_logger():
    """Envoy's own stats access logger with the same labels; the path is raw."""
    tags = {"method": "%REQ(:METHOD)%", "path": "%REQ(:PATH)%", "status": "%RESPONSE_CODE%"}

    def stat(name, labels):
        return {"name": name, "tags": [{"name": t, "value_format": tags[t]} for t in labels]}

    return {
        "name": "envoy.access_loggers.stats",
        "typed_config": {
            "@type": TYPE + "access_loggers.stats.v3.Config",
            "stats_scope": {"prefix": "native"},
            "counters": [{"stat": stat("requests", ["method", "path", "status"]), "value_fixed": 1}],
            "histograms": [
                {
                    "stat": stat("duration", ["method", "path"]),
                    "unit": "Milliseconds",
                    "value_format": "%DURATION%",
                }
            ],
        },
    }


VARIANTS = {
    "bare Envoy": ([], []),
    "native stats logger": ([], [native_logger()]),
    "Gatemeter, access logger": ([], [module("access_loggers.wasm.v3.WasmAccessLog", PLUGIN)]),
    "Gatemeter, filter": ([module("filters.http.wasm.v3.Wasm", PLUGIN)], []),
}


def microseconds_per_request(process, port, seconds):
    before = cpu_nanoseconds(process.pid)
    load = [tool("wrk"), "-t1", "-c8", f"-d{seconds}", f"http://127.0.0.1:{port}{PATH}"]
    output = subprocess.run(load, capture_output=True, text=True, check=True).stdout
    requests = int(re.search(r"(\d+) requests in", output).group(1))
    return (cpu_nanoseconds(process.pid) - before) / requests / 1000


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    if not MODULE.exists():
        sys.exit(f"{MODULE} is missing; run: make wasm")
    running = {}
    with tempfile.TemporaryDirectory(prefix="gatemeter-bench-") as folder:
        try:
            for name, (filters, loggers) in VARIANTS.items():
                process, port, _ = start(Path(folder), name, filters, loggers)
                running[name] = process, port
            measured = {name: [] for name in VARIANTS}
            for turn in range(rounds + 1):
                for name, (process, port) in running.items():
                    cost = microseconds_per_request(process, port, seconds)
                    if turn > 0:  # the first round warms up
                        measured[name].append(cost)
        finally:
            for process, _ in running.values():
                process.terminate()
                process.wait()
    bare = measured["bare Envoy"]
    print(f"microseconds of CPU per request, {rounds} interleaved rounds")
    print(f"| {'variant':25} | min | median | added, median of pairs |")
    print(f"|{'-' * 27}|---|---|---|")
    for name, costs in measured.items():
        added = statistics.median(cost - base for cost, base in zip(costs, bare))
        print(f"| {name:25} | {min(costs):.2f} | {statistics.median(costs):.2f} | {added:.2f} |")
    print(f"module: {MODULE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
