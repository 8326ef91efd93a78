#!/usr/bin/env python3
"""What clients that misbehave cost the bridge: the slowest scrape, the most memory.

A fake Envoy on loopback serves the same answer each time; the real bridge reads
it. Scrapes are taken one after another, as Prometheus takes them, while

- 1,000 sockets send a head, a body or nothing, a byte a second;
- 200 clients ask for a page of 100,000 stats and take a kilobyte in 100 ms.

A client that is cut comes back. Memory is VmHWM of the bridge's process. Linux
only; needs what `make bench-scrape` builds.
"""

import argparse
import asyncio
import contextlib
import gzip
import http.client
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bridges import start_bridge
from processes import end, memory
from tables import show

# What Prometheus asks for.
PROMETHEUS = {
    "accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
    "accept-encoding": "gzip",
}
BOUNDS = ("0.001", "0.005", "0.01", "0.1", "1.0")


def stats(count):
    """A /stats text of one service, five stats a path."""
    lines = ["wasmcustom.gatemeter_filter_info.service=api.version=1: 1"]
    for path in range(count // len(BOUNDS)):
        name = f"http_request_duration_seconds_bin.service=api.method=GET.path=/api/content/part-{path}/detail"
        lines += [f"wasmcustom.{name}.status=200.le={le}: {path}" for le in BOUNDS]
    return "\n".join(lines).encode() + b"\n"


async def fake_envoy(body):
    """Answers every connection with this body; returns the server."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n"
    answer = head % len(body) + body

    async def serve(reader, writer):
        # Cancelled when all ends while it still writes: then it is done as well.
        ended = ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError
        with contextlib.suppress(*ended):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


def scrape(port):
    """Seconds for one whole page, and its size unpacked."""
    begin = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics", headers=PROMETHEUS)
    page = connection.getresponse().read()
    took = time.perf_counter() - begin
    connection.close()
    page = gzip.decompress(page)
    if b"\ngatemeter_up 1\n" not in page:
        sys.exit("a scrape without Envoy's stats; the bridge does not stand this")
    return took, len(page)


async def again_and_again(port, client):
    while True:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            # A small buffer, so that what is not read is not taken either.
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            try:
                await client(reader, writer)
            finally:
                writer.close()
        await asyncio.sleep(0.1)


def slow_socket(index):
    requests = (
        b"GET /metrics HTTP/1.1\r\nhost: b\r\nx: " + b"x" * 4000,
        b"\r\n" * 2000,
        b"POST /metrics HTTP/1.1\r\nhost: b\r\ncontent-length: 9999\r\n\r\n",
        b"",
    )

    async def client(reader, writer):
        for byte in requests[index % len(requests)]:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(1)
        await reader.readexactly(1)

    return client


def slow_reader(index):
    accept = (b"text/plain", b"application/openmetrics-text")[index % 2]

    async def client(reader, writer):
        # Not all at once, so that they get pages of many reads.
        await asyncio.sleep(index * 0.02)
        writer.write(b"GET /metrics HTTP/1.1\r\nhost: b\r\naccept: %s\r\n\r\n" % accept)
        while True:
            await reader.readexactly(1000)
            await asyncio.sleep(0.1)

    return client


async def measure(folder, what, body, clients, scrapes):
    """A row of the table."""
    envoy = await fake_envoy(body)
    admin = envoy.sockets[0].getsockname()[1]
    # In a thread, for the bridge may ask this Envoy while it is waited for.
    process, port = await asyncio.to_thread(start_bridge, folder, admin)
    try:
        alone = [await asyncio.to_thread(scrape, port) for _ in range(5)]
        before = memory(process.pid, "VmHWM")
        tasks = [asyncio.create_task(again_and_again(port, client)) for client in clients]
        await asyncio.sleep(5)
        times = []
        for _ in range(scrapes):
            times.append((await asyncio.to_thread(scrape, port))[0] * 1e3)
            await asyncio.sleep(0.1)
        peak = memory(process.pid, "VmHWM")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        end([process])
        envoy.close()
    least, size = min(alone)
    cells = [f"{size / 1e6:.1f}", f"{least * 1e3:.0f}", f"{statistics.median(times):.0f}", f"{max(times):.0f}"]
    return [what, *cells, f"{before / 1e6:.0f}", f"{peak / 1e6:.0f}"]


async def main():
    parser = argparse.ArgumentParser(description="what clients that misbehave cost the bridge")
    parser.add_argument("--scrapes", type=int, default=50)
    scrapes = parser.parse_args().scrapes
    with tempfile.TemporaryDirectory(prefix="gatemeter-bench-") as folder:
        folder = Path(folder)
        sockets, readers = map(slow_socket, range(1000)), map(slow_reader, range(200))
        rows = [
            await measure(folder, "1,000 slow sockets", stats(100), sockets, scrapes),
            await measure(folder, "200 slow readers", stats(100_000), readers, scrapes),
        ]
    heads = ["clients", "page, MB", "scrape alone, ms", "median", "worst", "peak memory before, MB", "peak"]
    show("clients", heads, rows, caption=f"Scrapes: {scrapes}.")


if __name__ == "__main__":
    asyncio.run(main())
