"""The bridge that was built, and what one asks it for. BRIDGE=path measures another."""

import os
import socket
import sys
import time
from pathlib import Path

from processes import TARGET, built, free_ports, until_answered

BRIDGE = Path(os.environ.get("BRIDGE", TARGET / "release" / "gatemeter-bridge"))
GZIP = "accept-encoding: gzip\r\n"


def start_bridge(folder, admin):
    """A bridge that reads the Envoy with this admin port: its process and its port."""
    (port,) = free_ports(1)
    command = [str(built(BRIDGE, "make build")), "--envoy.admin", f"http://127.0.0.1:{admin}"]
    command += ["--web.listen-address", f"127.0.0.1:{port}", "--log.level", "warn"]
    log = folder / f"bridge-{port}.log"
    return until_answered("the bridge", command, log, f"127.0.0.1:{port}/-/healthy"), port


def ask(port, path, headers=""):
    """A connection on which the request is written already."""
    request = f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n"
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
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
