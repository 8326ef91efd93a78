"""The requests of the benchmarks: as many as fit (wrk), or at a constant rate.

Server and load each have a core of their own, so that neither takes the other's
time; a service behind Envoy shares the core of the load.
"""

import json
import os
import re
import subprocess
import sys

from processes import TARGET, built, on_core, tool

SERVER_CORE, LOAD_CORE = (0, 1) if (os.cpu_count() or 1) > 1 else (None, None)
GENERATOR = TARGET / "release" / "gatemeter-bench-load"


def as_many_as_fit(port, path, seconds, headers=(), connections=8, script=None):
    """How many requests were answered, all with 200; and in how many seconds."""
    command = [tool("wrk"), "-t1", f"-c{connections}", f"-d{seconds}"]
    for name, value in headers:
        command += ["-H", f"{name}: {value}"]
    if script:
        command += ["-s", str(script)]
    output = _run(on_core(LOAD_CORE, [*command, f"http://127.0.0.1:{port}{path}"]))
    if "Non-2xx" in output or "Socket errors" in output:
        sys.exit(f"not every request was answered with 200:\n{output}")
    requests, took, unit = re.search(r"(\d+) requests in ([\d.]+)(m?s)", output).groups()
    return int(requests), float(took) / (1000 if unit == "ms" else 1)


def at_constant_rate(port, path, rate, seconds, headers=(), connections=32):
    """Latencies in microseconds from when each request was due: p50, p99, p999, max."""
    command = [str(built(GENERATOR, "make bench-request")), f"127.0.0.1:{port}", f"--path={path}"]
    command += [f"--rate={rate}", f"--seconds={seconds}", f"--connections={connections}"]
    command += [f"--header={name}: {value}" for name, value in headers]
    return json.loads(_run(on_core(LOAD_CORE, command)))


def _run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stderr or done.stdout}")
    return done.stdout
