#!/usr/bin/env python3
"""How long the module keeps Envoy from its start, beside an empty filter on the SDK.

Envoy is started again and again, bare, with the empty filter, with the module and
its usual configuration, in turn. Until it is ready it has loaded and compiled the
module, made a VM for the main thread and for its worker and configured them; what
that takes longer than bare Envoy is the price. CPU is that of all threads half a
second later, for V8 goes on compiling beside. Four services are four filters with VMs
of their own. Linux only; needs what `make bench-request` builds.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from envoys import module, start
from processes import cpu_nanoseconds, end
from rounds import ADDED_HEADS, RATIO_HEADS, added_row, flat, in_turn, ratio_row
from tables import show
from variants import FILTER, PLUGIN, compared

BARE, EMPTY, OURS = "bare Envoy", "empty SDK filter", "Gatemeter, filter"
FOUR = "Gatemeter, filters of four services"
SERVICES = ("api", "discovery", "playback", "ingestion")
TARGET_RATIO = 1.3


def service(name):
    return module(FILTER, {**PLUGIN, "service": name}, vm_id=name)


def one_start(folder, name, filters):
    """Milliseconds until it was ready, and of CPU half a second later."""
    begin = time.perf_counter()
    process, _, _ = start(folder, name, filters, [], poll=0.001)
    took = time.perf_counter() - begin
    time.sleep(0.5)
    cpu = cpu_nanoseconds(process.pid)
    end([process])
    return took * 1000, cpu / 1e6


def main():
    parser = argparse.ArgumentParser(description="what the module costs Envoy at its start")
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    variants = {
        BARE: [],
        EMPTY: [module(FILTER, {}, compared("empty"))],
        OURS: [module(FILTER, PLUGIN)],
        FOUR: [service(name) for name in SERVICES],
    }
    measured = {name: [] for name in variants}
    with tempfile.TemporaryDirectory(prefix="gatemeter-bench-") as folder:
        for turn, order in in_turn(variants, rounds + 1):
            for name in order:
                found = one_start(Path(folder), name, variants[name])
                if turn > 1:  # the first round brings the files into memory
                    measured[name].append(found)
    rows, ratios = [], []
    for which, figure in enumerate(("until it is ready", "CPU")):
        # Each start is a process of its own, so each round a fleet.
        costs = {name: [[one[which]] for one in each] for name, each in measured.items()}
        for name in variants:
            every = flat(costs[name])
            cells = [figure, name, f"{min(every):.1f}", f"{statistics.median(every):.1f}"]
            rows.append(cells + (["", "", ""] if name == BARE else added_row(costs[name], costs[BARE])))
        what = f"{figure}: {OURS}, of {EMPTY}"
        ratios.append(ratio_row(what, costs[OURS], costs[EMPTY], costs[BARE], TARGET_RATIO))
    caption = f"Milliseconds. Rounds: {rounds}."
    show("start", ["figure", "variant", "min", "median", *ADDED_HEADS], rows, caption=caption)
    show("start-ratios", RATIO_HEADS, ratios)


if __name__ == "__main__":
    main()
