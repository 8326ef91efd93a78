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

from envoys import end
from load import as_many_as_fit, at_constant_rate
from variants import PATH, SETTINGS, add_variants_option, start_each, variants

SHARES = (0.5, 0.9)
CONNECTIONS = 32
QUANTILES = ("p50", "p99", "p999")


def capacities(running, setting, rounds, seconds):
    """Requests a second, by variant."""
    measured = {name: [] for name in running}
    for _ in range(rounds):
        for name, (_, port) in running.items():
            requests, took = as_many_as_fit(
                port, PATH, seconds, setting.request, connections=CONNECTIONS
            )
            measured[name].append(requests / took)
    return {name: statistics.median(each) for name, each in measured.items()}


def latencies(running, setting, capacity, rounds, seconds):
    """By variant and share of its capacity: the quantiles, the least of the rounds."""
    measured = {(name, share): [] for name in running for share in SHARES}
    for _ in range(rounds):
        for name, share in measured:
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
    parser.add_argument("--setting", choices=list(SETTINGS), default="direct-small")
    add_variants_option(parser, ["native", "lua", "naive", "logger", "filter"])
    arguments = parser.parse_args()
    rounds, seconds, setting = arguments.rounds, arguments.seconds, SETTINGS[arguments.setting]
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
    print(
        f"\n{arguments.setting}: latency in microseconds at a constant rate, "
        f"least of {rounds} rounds of {seconds} s\n"
    )
    heads = [f"{share:.0%}: {quantile}" for share in SHARES for quantile in QUANTILES]
    print(f"| variant | requests/s | {' | '.join(heads)} |")
    print("|---" * (2 + len(heads)) + "|")
    for name in names:
        values = [f"{value:.0f}" for share in SHARES for value in found[name, share]]
        print(f"| {variants()[name].title} | {capacity[name]:,.0f} | {' | '.join(values)} |")


if __name__ == "__main__":
    main()
