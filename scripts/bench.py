#!/usr/bin/env python3
"""CPU of Envoy per request, with and without Gatemeter, beside Envoy's own logger.

One Envoy for each variant (--concurrency 1, a route that answers itself), wrk on
loopback (one thread, 8 connections), variants in turn, round after round, so that
a machine that gets slower gets slower for all. CPU is that of all threads of the
Envoy process, from /proc/PID/task/*/schedstat, divided by the requests that wrk
counted. Compare differences and ratios: Envoy against itself varies by half a
microsecond. Linux only; needs what `make tools wasm` leaves.

    usage: scripts/bench.py [ROUNDS] [SECONDS_PER_RUN]
"""

import json
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULE = ROOT / "dist" / "gatemeter_filter.wasm"
PLUGIN = {"service": "api", "routes": ["/api/content/:id"]}
PATH = "/api/content/42"
TYPE = "type.googleapis.com/envoy.extensions."


def tool(name):
    """A tool of `make tools`, or of the PATH; ends the program where there is none."""
    local = ROOT / ".tools" / "bin" / name
    found = str(local) if local.exists() else shutil.which(name)
    if not found:
        sys.exit(f"{name} is missing; run: make tools")
    return found


def module(kind):
    """The filter (kind `filters.http.wasm.v3.Wasm`) or the access logger."""
    return {
        "name": "gatemeter",
        "typed_config": {
            "@type": TYPE + kind,
            "config": {
                "name": "gatemeter-api",
                "failure_policy": "FAIL_RELOAD",
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": json.dumps(PLUGIN),
                },
                "vm_config": {
                    "vm_id": "api",
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": str(MODULE)}},
                },
            },
        },
    }


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
    "Gatemeter, access logger": ([], [module("access_loggers.wasm.v3.WasmAccessLog")]),
    "Gatemeter, filter": ([module("filters.http.wasm.v3.Wasm")], []),
}


def configuration(filters, loggers, port, admin):
    def address(number):
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    router = {"name": "router", "typed_config": {"@type": TYPE + "filters.http.router.v3.Router"}}
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    manager = {
        "@type": TYPE
        + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "api",
        "access_log": loggers,
        "http_filters": [*filters, router],
        "route_config": {
            "virtual_hosts": [{"name": "api", "domains": ["*"], "routes": [route]}]
        },
    }
    listener = {
        "name": "api",
        "address": address(port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return {"admin": {"address": address(admin)}, "static_resources": {"listeners": [listener]}}


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for held in sockets:
        held.bind(("127.0.0.1", 0))
    ports = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return ports


def start(folder, name, filters, loggers):
    port, admin = free_ports(2)
    config = folder / f"{admin}.json"
    config.write_text(json.dumps(configuration(filters, loggers, port, admin)))
    log = (folder / f"{admin}.log").open("w")
    command = [tool("envoy"), "-c", str(config), "--disable-hot-restart"]
    process = subprocess.Popen(
        [*command, "--concurrency", "1", "-l", "error"], stdout=log, stderr=log
    )
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{admin}/ready", timeout=1):
                return process, port
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                sys.exit(f"{name}: Envoy does not start:\n{Path(log.name).read_text()}")
            time.sleep(0.05)


def cpu_nanoseconds(pid):
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)


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
                running[name] = start(Path(folder), name, filters, loggers)
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


main()
