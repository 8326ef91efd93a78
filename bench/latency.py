#!/usr/bin/env python3
"""Throughput, and latency at half and nine tenths of it, by variant.

Capacity is what wrk gets through on 32 connections, median of the rounds. Then
requests come at a constant rate, and each one's latency counts from when it was due,
not from when it could be sent, so that a stall is seen by all whom it made wait
(gatemeter-bench-load). Variants in turn, round after round; of each quantile the
least of the rounds is shown: what a variant does to requests it does in every round,
what else runs on the machine comes and goes. Envoy (--concurrency 1) has one core,
the load the other.

Linux only; needs what `make bench-request` builds.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from load import as_many_as_fit, at_constant_rate
from processes import end
from rounds import in_turn
from tables import show
from variants import PATH, SETTINGS, add_variants_option, start_each, variants

SHARES = (0.5, 0.9)
CONNECTIONS = 32
QUANTILES = ("p50", "p99", "p999")


def capacities(running, setting, rounds, seconds):
    """Requests a second, by variant."""
    measured = {name: [] for name in running}
    for _, order in in_turn(running, rounds):
        for name in order:
            requests, took = as_many_as_fit(
                running[name][1], PATH, seconds, setting.request, connections=CONNECTIONS
            )
            measured[name].append(requests / took)
    return {name: statistics.median(each) for name, each in measured.items()}


def latencies(running, setting, capacity, rounds, seconds):
    """By variant and share of its capacity: the quantiles, the least of the rounds."""
    measured = {(name, share): [] for name in running for share in SHARES}
    for _, order in in_turn(measured, rounds):
        for name, share in order:
            port = running[name][1]
            rate = round(capacity[name] * share)
            measured[name, share].append(
                at_constant_rate(port, PATH, rate, seconds, setting.request, CONNECTIONS)
            )
    return {
        which: [min(one[quantile] for one in each) for quantile in QUANTILES]
        for which, each in measured.items()
    }


def main():
    parser = argparse.ArgumentParser(description="throughput and latency, by variant")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=1, help="for each run")
    add_variants_option(parser, ["native", "lua", "naive", "logger", "filter"])
    arguments = parser.parse_args()
    rounds, seconds, setting = arguments.rounds, arguments.seconds, SETTINGS["direct-small"]
    names = list(dict.fromkeys(["bare", *arguments.variants]))
    processes = []
    with tempfile.TemporaryDirectory(prefix="gatemeter-bench-") as folder:
        try:
            running = start_each(Path(folder), setting, names, processes)
            capacities(running, setting, 1, 1)  # warms up
            capacity = capacities(running, setting, rounds, seconds)
            found = latencies(running, setting, capacity, rounds, seconds)
        finally:
            end(processes)
    caption = f"Microseconds, the least of the rounds. Rounds: {rounds}; seconds of each: {seconds}."
    heads = [f"{share:.0%}: {quantile}" for share in SHARES for quantile in QUANTILES]
    rows = []
    for name in names:
        values = [f"{value:,.0f}" for share in SHARES for value in found[name, share]]
        rows.append([variants()[name].title, f"{capacity[name]:,.0f}", *values])
    show("latency", ["variant", "requests/s", *heads], rows, caption=caption)


if __name__ == "__main__":
    main()
