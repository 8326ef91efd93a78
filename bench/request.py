#!/usr/bin/env python3
"""CPU per request, with and without Gatemeter, beside what one could use instead.

One Envoy for each variant (--concurrency 1), wrk on loopback (one thread, 8
connections, on the other core), variants in turn, round after round, every second
round backwards, so that a machine that gets slower gets slower for all. CPU is
that of all threads of the Envoy process, from /proc/PID/task/*/schedstat, divided
by the requests that wrk counted.

A setting is a route that answers itself, or one to a service (a second Envoy,
whose CPU is not counted), with few headers, as many as browsers send, or also with
what a service says to the filter. The setting `middleware` is a service of its own
with and without a metrics middleware, and no Envoy. Compare differences and ratios:
Envoy against itself varies by half a microsecond.

Linux only; needs what `make bench-request` builds.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from envoys import MODULE, TARGET, cpu_nanoseconds, end, on_core
from load import SERVER_CORE, as_many_as_fit
from variants import PATH, SETTINGS, Setting, add_variants_option, start_each, variants

MIDDLEWARE = "middleware"
MIDDLEWARE_PROGRAM = TARGET / "release" / "gatemeter-bench-middleware"
# Who is held against whom, in CPU added to bare Envoy, and what is aimed at.
TARGETS = [("filter", "naive", 0.58), ("filter", "floor", 1.15), ("logger", "naive", 0.40)]


def services(processes):
    """Each framework without and with its middleware."""
    if not MIDDLEWARE_PROGRAM.exists():
        sys.exit(f"{MIDDLEWARE_PROGRAM} is missing; run: make bench-request")
    running = {}
    for framework, middleware in (("axum", "axum-prometheus"), ("actix", "actix-web-prom")):
        for name, more in ((framework, []), (middleware, ["--metrics"])):
            command = on_core(SERVER_CORE, [str(MIDDLEWARE_PROGRAM), framework, *more])
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            processes.append(process)
            port = int(process.stdout.readline().rpartition(":")[2])
            running[name] = process, port
    return running


def measure(running, setting, rounds, seconds):
    """Microseconds of CPU per request, by variant, one for each round."""
    measured = {name: [] for name in running}
    for turn in range(rounds + 1):
        order = list(running.items())
        for name, (process, port) in order[:: 1 if turn % 2 else -1]:
            before = cpu_nanoseconds(process.pid)
            requests, _ = as_many_as_fit(port, PATH, seconds, setting.request)
            cost = (cpu_nanoseconds(process.pid) - before) / requests / 1000
            if turn > 0:  # the first round warms up
                measured[name].append(cost)
    return measured


def added(costs, base):
    """By the minima, and the median of the pairs."""
    pairs = [cost - bare for cost, bare in zip(costs, base)]
    return min(costs) - min(base), statistics.median(pairs)


def table(measured, titles, base_of):
    print("| variant | min (us) | median (us) | added, of minima | added, median of pairs |")
    print("|---|---|---|---|---|")
    for name, costs in measured.items():
        of_minima, of_pairs = added(costs, measured[base_of(name)])
        print(
            f"| {titles[name]} | {min(costs):.2f} | {statistics.median(costs):.2f} "
            f"| {of_minima:.2f} | {of_pairs:.2f} |"
        )


def ratios(measured, titles):
    print("\n| of what is added | by minima | by medians of pairs | aimed at |")
    print("|---|---|---|---|")
    for ours, peer, target in TARGETS:
        if ours in measured and peer in measured:
            our = added(measured[ours], measured["bare"])
            their = added(measured[peer], measured["bare"])
            of_minima, of_pairs = (a / b for a, b in zip(our, their))
            print(
                f"| {titles[ours]}, of {titles[peer]} "
                f"| {of_minima:.2f} | {of_pairs:.2f} | {target:.2f} |"
            )


def run(setting_name, names, rounds, seconds):
    processes = []
    setting = SETTINGS.get(setting_name, Setting())
    with tempfile.TemporaryDirectory(prefix="gatemeter-bench-") as folder:
        try:
            if setting_name == MIDDLEWARE:
                running = services(processes)
            else:
                running = start_each(Path(folder), setting, names, processes)
            measured = measure(running, setting, rounds, seconds)
        finally:
            end(processes)
    print(f"\n{setting_name}: CPU per request, {rounds} rounds of {seconds} s\n")
    if setting_name == MIDDLEWARE:
        titles = {name: name for name in measured}
        table(measured, titles, lambda name: "axum" if name.startswith("axum") else "actix")
    else:
        titles = {name: variant.title for name, variant in variants().items()}
        table(measured, titles, lambda _: "bare")
        ratios(measured, titles)


def parse_arguments():
    parser = argparse.ArgumentParser(description="CPU of Envoy per request, by variant")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=1, help="for each variant in each round")
    known = [*SETTINGS, MIDDLEWARE]
    usual = ["direct-small", "proxied-browser", MIDDLEWARE]
    parser.add_argument(
        "--settings", nargs="+", choices=[*known, "all"], default=usual, metavar="SETTING",
        help=f"of {', '.join(known)}, or all; {', '.join(usual)} where none is given",
    )
    add_variants_option(parser, list(variants()))
    arguments = parser.parse_args()
    if "all" in arguments.settings:
        arguments.settings = known
    return arguments


def main():
    arguments = parse_arguments()
    names = list(dict.fromkeys(["bare", *arguments.variants]))
    for setting in arguments.settings:
        run(setting, names, arguments.rounds, arguments.seconds)
    print(f"\nmodule: {MODULE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
