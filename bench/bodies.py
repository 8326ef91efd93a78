#!/usr/bin/env python3
"""What 100 MB of body cost Envoy, down and up, with and without the filter.

A service on loopback behind Envoy (--concurrency 1) sends or takes 100 MB; CPU is
that of all threads of the Envoy process. Variants in turn, round after round. A
filter that is called for each chunk pays for thousands of calls; one that exports
no body callback pays for one request. The naive filter is there for comparison:
the SDK exports them all. The service and the client share the core that Envoy
does not have. Linux only; needs what `make bench-request` builds.
"""

import argparse
import http.client
import os
import statistics
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from envoys import cpu_nanoseconds, end
from load import LOAD_CORE
from variants import PATH, SETTINGS, start_each, variants

SIZE = 100_000_000
PIECE = 1_000_000


class Service(BaseHTTPRequestHandler):
    """GET sends so much, PUT takes it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", str(SIZE))
        self.end_headers()
        piece = bytes(PIECE)
        for _ in range(SIZE // PIECE):
            self.wfile.write(piece)

    def do_PUT(self):
        left, buffer = SIZE, bytearray(PIECE)
        while left:
            left -= self.rfile.readinto(memoryview(buffer)[: min(left, PIECE)])
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def transfer(method, port):
    """Seconds until all is there."""
    body = bytes(SIZE) if method == "PUT" else None
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    begin = time.perf_counter()
    connection.request(method, PATH, body=body)
    answer = connection.getresponse()
    left, buffer = SIZE if method == "GET" else 0, bytearray(PIECE)
    while left and (read := answer.readinto(buffer)):
        left -= read
    took = time.perf_counter() - begin
    if answer.status != 200 or left:
        sys.exit(f"{method}: status {answer.status}, {left} bytes are missing")
    connection.close()
    return took


def measure(running, method, rounds):
    """By variant: CPU and wall time of each transfer, in milliseconds."""
    measured = {name: [] for name in running}
    for turn in range(rounds + 1):
        for name, (process, port) in running.items():
            before = cpu_nanoseconds(process.pid)
            took = transfer(method, port)
            cpu = cpu_nanoseconds(process.pid) - before
            if turn > 0:  # the first round warms up
                measured[name].append((cpu / 1e6, took * 1000))
    return measured


def main():
    parser = argparse.ArgumentParser(description="what 100 MB of body cost Envoy")
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    if LOAD_CORE is not None:
        os.sched_setaffinity(0, {LOAD_CORE})
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    setting = SETTINGS["proxied-small"]
    processes = []
    print(f"\n100 MB through Envoy, {rounds} rounds, milliseconds\n")
    print("| body | variant | CPU, min | CPU, median | added, median of pairs | wall, median |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="gatemeter-bench-") as folder:
        try:
            names = ("bare", "filter", "logger", "naive")
            running = start_each(Path(folder), setting, names, processes, server.server_port)
            for what, method in (("download", "GET"), ("upload", "PUT")):
                measured = measure(running, method, rounds)
                for name, each in measured.items():
                    cpus, walls = zip(*each)
                    pairs = [cpu - bare for cpu, (bare, _) in zip(cpus, measured["bare"])]
                    print(
                        f"| {what} | {variants()[name].title} | {min(cpus):.1f} | {statistics.median(cpus):.1f} "
                        f"| {statistics.median(pairs):.1f} | {statistics.median(walls):.0f} |"
                    )
        finally:
            end(processes)
            server.shutdown()


if __name__ == "__main__":
    main()
