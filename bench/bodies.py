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

from load import LOAD_CORE
from processes import cpu_nanoseconds, end
from rounds import ADDED_HEADS, added_row, in_turn
from tables import show
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
    for turn, order in in_turn(running, rounds + 1):
        for name in order:
            process, port = running[name]
            before = cpu_nanoseconds(process.pid)
            took = transfer(method, port)
            cpu = cpu_nanoseconds(process.pid) - before
            if turn > 1:  # the first round warms up
                measured[name].append((cpu / 1e6, took * 1000))
    return measured


def row(what, name, measured):
    cpus, walls = zip(*measured[name])
    cells = [what, variants()[name].title, f"{statistics.median(walls):.0f}"]
    cells += [f"{min(cpus):.1f}", f"{statistics.median(cpus):.1f}"]
    if name == "bare":
        return [*cells, "", "", ""]
    return cells + added_row([cpus], [[cpu for cpu, _ in measured["bare"]]])


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
    rows = []
    with tempfile.TemporaryDirectory(prefix="gatemeter-bench-") as folder:
        try:
            names = ("bare", "filter", "logger", "naive")
            running = start_each(Path(folder), setting, names, processes, server.server_port)
            for what, method in (("download", "GET"), ("upload", "PUT")):
                measured = measure(running, method, rounds)
                rows += [row(what, name, measured) for name in measured]
        finally:
            end(processes)
            server.shutdown()
    heads = ["body", "variant", "wall, median", "CPU, min", "CPU, median", *ADDED_HEADS]
    caption = f"100 MB, milliseconds; what is added is CPU. Rounds: {rounds}."
    show("bodies", heads, rows, caption=caption)


if __name__ == "__main__":
    main()
