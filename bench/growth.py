#!/usr/bin/env python3
"""What a request costs Envoy as more is counted: series, routes, headers, workers.

CPU of the Envoy process per request, as bench/request.py measures it, of bare Envoy
and of the filter, in turn, round after round, for

- series held: 5,000 routes configured, each of 1, 100 or 5,000 asked for before, then
  requests to one of them;
- series asked for in turn: the same, then requests to all of those, so that with
  5,000 hardly two requests between two ticks count in the same series;
- routes configured: 10, 1,000 or 10,000, requests to 10 of them;
- headers of a request beside the pseudo-headers: 1, 20 or 80;
- workers: 1 or 2.

Linux only; needs what `make tools wasm` leaves.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

from envoys import module, start
from load import SERVER_CORE, as_many_as_fit
from processes import cpu_nanoseconds, end
from rounds import ADDED_HEADS, added_row, in_turn
from tables import show
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


@dataclass(frozen=True)
class Point:
    """How much there is of each thing that can grow."""

    routes: int = 10
    filled: int = 0
    asked: int = 10
    headers: int = 1
    workers: int = 1

    def bare(self):
        """What is the same for an Envoy without the filter, which is measured once."""
        return Point(0, 0, self.asked, self.headers, self.workers)


AXES = {
    "series held": {n: Point(routes=5000, filled=n, asked=1) for n in (1, 100, 5000)},
    "series asked for in turn": {n: Point(routes=5000, asked=n) for n in (1, 100, 5000)},
    "routes configured": {n: Point(routes=n) for n in (10, 1000, 10_000)},
    "request headers": {n: Point(headers=n) for n in (1, 20, 80)},
    "workers": {n: Point(workers=n) for n in (1, 2)},
}


def drive(folder, port, point, paths, seconds):
    """How many requests were answered."""
    more = [(f"x-header-{number:02}", "a value" * 3) for number in range(1, point.headers)]
    requests, _ = as_many_as_fit(port, "/", seconds, more, script=script(folder, paths))
    return requests


def start_each(folder, points, processes):
    """Process and port of an Envoy for each point; the bare ones have no routes."""
    running = {}
    for point in points:
        filters = [module(FILTER, plugin(point.routes))] if point.routes else []
        # More workers than one core has room for need more of them.
        core = SERVER_CORE if point.workers == 1 else None
        process, port, _ = start(folder, "Envoy", filters, [], workers=point.workers, core=core)
        processes.append(process)
        running[point] = process, port
    return running


def measure(folder, points, rounds, seconds):
    """By point, those of bare Envoys too: the costs of all rounds."""
    processes = []
    try:
        running = start_each(folder, points, processes)
        for point, (_, port) in running.items():
            # Once all paths, where that is asked for; and it warms up.
            drive(folder, port, point, point.filled or point.asked, seconds)
        measured = {point: [] for point in running}
        for _, order in in_turn(running, rounds):
            for point in order:
                process, port = running[point]
                before = cpu_nanoseconds(process.pid)
                requests = drive(folder, port, point, point.asked, seconds)
                cost = (cpu_nanoseconds(process.pid) - before) / requests / 1000
                measured[point].append(cost)
        return measured
    finally:
        end(processes)


def main():
    parser = argparse.ArgumentParser(description="what a request costs as more is counted")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=1, help="for each run")
    parser.add_argument("--axes", nargs="+", choices=list(AXES), default=list(AXES))
    asked = parser.parse_args()
    rows = []
    for axis in asked.axes:
        points = AXES[axis]
        with tempfile.TemporaryDirectory(prefix="gatemeter-bench-") as folder:
            both = dict.fromkeys([each for p in points.values() for each in (p.bare(), p)])
            measured = measure(Path(folder), both, asked.rounds, asked.seconds)
        for much, point in points.items():
            bare, counted = measured[point.bare()], measured[point]
            cells = [axis, f"{much:,}", f"{min(bare):.2f}", f"{min(counted):.2f}"]
            rows.append(cells + added_row([counted], [bare]))
    heads = ["what grows", "", "bare Envoy, min", "filter, min", *ADDED_HEADS]
    caption = f"Microseconds. Rounds: {asked.rounds}; seconds of each: {asked.seconds}."
    show("growth", heads, rows, caption=caption)


if __name__ == "__main__":
    main()
