#!/usr/bin/env python3
"""What a request costs Envoy as more is counted: series, routes, headers, workers.

CPU of the Envoy process per request, as bench/request.py measures it, of bare Envoy
and of the filter, in turn, round after round, for

- live series: the same 5,000 routes configured, requests to 1, 100 or all of them;
- routes configured: 10, 1,000 or 10,000, requests to 10 of them;
- headers of a request beside the pseudo-headers: 1, 20 or 80;
- workers: 1 or 2.

Linux only; needs what `make tools wasm` leaves.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from envoys import cpu_nanoseconds, end, module, start
from load import SERVER_CORE, as_many_as_fit
from variants import FILTER

MOST_SERIES = 20_000


def plugin(routes):
    return {
        "service": "api",
        "routes": [f"/api/part-{route:05}/:id" for route in range(routes)],
        "max_series": MOST_SERIES,
    }


def script(folder, paths):
    """For wrk: one path after the other. They are made once, so wrk is no slower."""
    file = folder / f"paths-{paths}.lua"
    file.write_text(
        f"""
local requests, last = {{}}, 0
function init(arguments)
  for number = 1, {paths} do
    requests[number] = wrk.format("GET", string.format("/api/part-%05d/42", number - 1))
  end
end
function request()
  last = last % {paths} + 1
  return requests[last]
end
"""
    )
    return file


# What grows: for each point the routes configured, paths asked for, headers, workers.
AXES = {
    "live series": {1: (5000, 1, 1, 1), 100: (5000, 100, 1, 1), 5000: (5000, 5000, 1, 1)},
    "routes configured": {10: (10, 10, 1, 1), 1000: (1000, 10, 1, 1), 10000: (10_000, 10, 1, 1)},
    "request headers": {1: (10, 10, 1, 1), 20: (10, 10, 20, 1), 80: (10, 10, 80, 1)},
    "workers": {1: (10, 10, 1, 1), 2: (10, 10, 1, 2)},
}


def measure(folder, points, rounds, seconds):
    """By point: the costs of bare Envoy and of the filter."""
    processes = []
    running = {}
    try:
        for point, (routes, _, _, workers) in points.items():
            for filters in ([], [module(FILTER, plugin(routes))]):
                # More workers than one core has room for need more of them.
                core = SERVER_CORE if workers == 1 else None
                process, port, _ = start(folder, "Envoy", filters, [], workers=workers, core=core)
                processes.append(process)
                running[point, bool(filters)] = process, port
        measured = {which: [] for which in running}
        for turn in range(rounds + 1):
            order = list(running.items())
            for (point, counted), (process, port) in order[:: 1 if turn % 2 else -1]:
                _, paths, headers, _ = points[point]
                more = [(f"x-header-{number:02}", "a value" * 3) for number in range(1, headers)]
                before = cpu_nanoseconds(process.pid)
                requests, _ = as_many_as_fit(port, "/", seconds, more, script=script(folder, paths))
                cost = (cpu_nanoseconds(process.pid) - before) / requests / 1000
                if turn > 0:  # the first round warms up
                    measured[point, counted].append(cost)
    finally:
        end(processes)
    return measured


def main():
    parser = argparse.ArgumentParser(description="what a request costs as more is counted")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=1, help="for each run")
    parser.add_argument("--axes", nargs="+", choices=list(AXES), default=list(AXES))
    arguments = parser.parse_args()
    print(f"\nCPU per request (us), {arguments.rounds} rounds of {arguments.seconds} s\n")
    print("| what grows | | bare Envoy, min | filter, min | added, of minima | added, median of pairs |")
    print("|---|---|---|---|---|---|")
    for axis in arguments.axes:
        with tempfile.TemporaryDirectory(prefix="gatemeter-bench-") as folder:
            points = AXES[axis]
            measured = measure(Path(folder), points, arguments.rounds, arguments.seconds)
        for point in points:
            bare, counted = measured[point, False], measured[point, True]
            pairs = statistics.median(a - b for a, b in zip(counted, bare))
            print(
                f"| {axis} | {point:,} | {min(bare):.2f} | {min(counted):.2f} "
                f"| {min(counted) - min(bare):.2f} | {pairs:.2f} |"
            )


if __name__ == "__main__":
    main()
