#!/usr/bin/env python3
"""How long the module keeps Envoy from its start, beside an empty filter on the SDK.

Envoy is started again and again, bare, with the empty filter, with the module and
its usual configuration, in turn. Until it is ready it has loaded and compiled the
module, made a VM for the main thread and for its worker and configured them; what
that takes longer than bare Envoy is the price. CPU is that of all threads half a
second later, for V8 goes on compiling beside. Linux only; needs what
`make bench-request` builds.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from envoys import cpu_nanoseconds, end, module, start
from variants import FILTER, PLUGIN, compared

BARE, EMPTY, OURS = "bare Envoy", "empty SDK filter", "Gatemeter, filter"
TARGET_RATIO = 1.3


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
    }
    measured = {name: [] for name in variants}
    with tempfile.TemporaryDirectory(prefix="gatemeter-bench-") as folder:
        for turn in range(rounds + 1):
            for name, filters in variants.items():
                found = one_start(Path(folder), name, filters)
                if turn > 0:  # the first round brings the files into memory
                    measured[name].append(found)
    print(f"\nstart of Envoy, {rounds} rounds, milliseconds\n")
    print("| variant | ready, min | median | added, of minima | CPU, min | median | added, of minima |")
    print("|---|---|---|---|---|---|---|")
    added = {}
    for name, each in measured.items():
        shown = []
        for which in (0, 1):
            values, bare = [one[which] for one in each], [one[which] for one in measured[BARE]]
            added[name, which] = min(values) - min(bare)
            shown += [min(values), statistics.median(values), added[name, which]]
        print(f"| {name} | {' | '.join(f'{value:.1f}' for value in shown)} |")
    ready, cpu = (added[OURS, which] / added[EMPTY, which] for which in (0, 1))
    print(f"\nadded by the filter, of that by an empty one: {ready:.2f}; CPU {cpu:.2f} (at most {TARGET_RATIO})")


if __name__ == "__main__":
    main()
