"""A real Envoy that holds as many stats as are asked for, and then more.

Its filter gets so many routes, methods and statuses; Envoy's fault filter delays the
requests, so that every series has observations in most of its bins. One Envoy does for
all numbers of stats: it is filled further from one to the next.
"""

import asyncio
import re
import sys
import time
import urllib.request

from envoys import TYPE, module, start
from processes import ROOT

# Bounds and delays in milliseconds: one delay falls into each bin.
BOUNDS = [5 * bin + 3 for bin in range(11)]
DELAYS = [5 * bin for bin in range(12)]
SETS = [("GET", 200), ("POST", 200), ("GET", 404)]
# 13 stats for each set and 2 for each method.
STATS_PER_ROUTE = 13 * len(SETS) + 2
# As many as a configuration of the filter may have.
ROUTES = 10_000
# So few that no request waits for another, which would put it into another bin.
CONNECTIONS = 200
# Longer than it takes until the workers' counts reach Envoy, in seconds.
TICK = 2
PLUGIN = {
    "service": "api",
    "routes": [f"/api/route-{route}/:id" for route in range(ROUTES)],
    "buckets": [bound / 1000 for bound in BOUNDS],
    "max_series": 50_000,
}


def text(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        return answer.read().decode()


def stats_path():
    """What the bridge asks Envoy for: a constant of its decoder."""
    source = (ROOT / "bridge" / "src" / "decode.rs").read_text()
    return re.search(r'const STATS_PATH: &str = "([^"]+)"', source).group(1)


def stats_tags():
    """The tags of the shipped configuration."""
    shipped = (ROOT / "envoy" / "envoy.yaml").read_text()
    tags = re.findall(r"tag_name: (\S+), regex: '([^']+)'", shipped)
    return [{"tag_name": name, "regex": regex} for name, regex in tags]


class FilledEnvoy:
    """The Envoy: its `process` and the port of its `admin` interface."""

    def __init__(self, folder):
        fault = {
            "name": "fault",
            "typed_config": {
                "@type": TYPE + "filters.http.fault.v3.HTTPFault",
                "delay": {"header_delay": {}, "percentage": {"numerator": 100}},
            },
        }
        headers = [{"name": "x-status", "string_match": {"exact": "404"}}]
        self.process, self.port, self.admin = start(
            folder,
            "Envoy",
            [module("filters.http.wasm.v3.Wasm", PLUGIN), fault],
            [],
            routes=[
                {"match": {"prefix": "/", "headers": headers}, "direct_response": {"status": 404}},
                {"match": {"prefix": "/"}, "direct_response": {"status": 200}},
            ],
            tags=stats_tags(),
        )
        self.routes = 0

    def held(self):
        """How many stats there are, of those that the bridge reads."""
        return text(self.admin, stats_path()).count("\n")

    def fill(self, stats):
        """Asks for more routes until so many stats are there."""
        while (held := self.held()) < stats:
            if self.routes == ROUTES:
                sys.exit(f"{held} stats instead of {stats}; is the machine overloaded?")
            # On a busy machine some delays fall into one bin, so more may be needed.
            each = held / self.routes if self.routes else STATS_PER_ROUTE
            more = min(ROUTES - self.routes, int((stats - held) / each) + 1)
            asyncio.run(_ask_all(self.port, range(self.routes, self.routes + more)))
            self.routes += more
            time.sleep(TICK)


class _Client(asyncio.Protocol):
    """Sends one request after the other; no answer has a body."""

    def __init__(self, requests, done):
        self.requests, self.done, self.answer = requests, done, b""

    def connection_made(self, transport):
        self.transport = transport
        self.send()

    def data_received(self, data):
        self.answer += data
        if self.answer.endswith(b"\r\n\r\n"):
            self.answer = b""
            self.send()

    def send(self):
        request = next(self.requests, None)
        if request is None:
            self.transport.close()
        else:
            self.transport.write(request)

    def connection_lost(self, error):
        if error or next(self.requests, None) is not None:
            self.done.set_exception(error or ConnectionError("Envoy closed a connection"))
        else:
            self.done.set_result(None)


async def _ask_all(port, routes):
    """One request for each bin of each set of these routes."""
    # All connections take from one heap, delays mixed, so that the load is even.
    requests = iter(
        [
            b"%s /api/route-%d/7 HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n"
            b"x-status: %d\r\nx-envoy-fault-delay-request: %d\r\n\r\n"
            % (method.encode(), route, status, delay)
            for route in routes
            for method, status in SETS
            for delay in DELAYS
        ]
    )
    loop = asyncio.get_running_loop()
    ends = []
    for _ in range(CONNECTIONS):
        done = loop.create_future()
        await loop.create_connection(lambda: _Client(requests, done), "127.0.0.1", port)
        ends.append(done)
    await asyncio.gather(*ends)
