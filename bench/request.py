#!/usr/bin/env python3
"""CPU per request, with and without Gatemeter, beside what one could use instead.

One Envoy for each variant (--concurrency 1), wrk on loopback (one thread, 8
connections, on the other core), variants in turn, round after round. CPU is that of
all threads of the Envoy process, from /proc/PID/task/*/schedstat, divided by the
requests that wrk counted. Two processes of the same program differ, too: by where
their memory lies. So after some rounds all are started anew, several fleets in a run.

A setting is a route that answers itself, or one to a service (a second Envoy,
whose CPU is not counted), with few headers, as many as browsers send, or also with
what a service says to the filter. The setting `middleware` is a service of its own
with and without a metrics middleware, and no Envoy. Compare differences and ratios.

Linux only; needs what `make bench-request` builds.
"""

import argparse
import statistics
import subprocess
import tempfile
from pathlib import Path

from load import SERVER_CORE, as_many_as_fit
from processes import TARGET, built, cpu_nanoseconds, end, on_core
from rounds import ADDED_HEADS, RATIO_HEADS, added_row, flat, in_turn, ratio_row
from tables import show
from variants import PATH, SETTINGS, STEPS, Setting, add_variants_option, start_each, variants

MIDDLEWARE = "middleware"
MIDDLEWARE_PROGRAM = TARGET / "release" / "gatemeter-bench-middleware"
FRAMEWORKS = {"axum": "axum-prometheus", "actix": "actix-web-prom"}
# Who is held against whom, in CPU added to bare Envoy, and what is aimed at, if anything.
TARGETS = [
    ("filter", "naive", 0.58),
    ("filter", "floor", 1.15),
    ("logger", "naive", 0.40),
    ("logger", "floor-logger", None),
    ("floor-logger", "naive", None),
]


def services(processes):
    """Each framework without and with its middleware."""
    program = built(MIDDLEWARE_PROGRAM, "make bench-request")
    running = {}
    for framework, middleware in FRAMEWORKS.items():
        for name, more in ((framework, []), (middleware, ["--metrics"])):
            command = on_core(SERVER_CORE, [str(program), framework, *more])
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            processes.append(process)
            port = int(process.stdout.readline().rpartition(":")[2])
            running[name] = process, port
    return running


def measure(running, setting, rounds, seconds, fleet):
    """Microseconds of CPU per request, by variant, one for each round."""
    measured = {name: [] for name in running}
    for turn, order in in_turn(running, rounds + 1, seed=fleet):
        for name in order:
            process, port = running[name]
            before = cpu_nanoseconds(process.pid)
            requests, _ = as_many_as_fit(port, PATH, seconds, setting.request)
            cost = (cpu_nanoseconds(process.pid) - before) / requests / 1000
            if turn > 1:  # the first round warms up
                measured[name].append(cost)
    return measured


def measured_fleet(setting_name, names, rounds, seconds, fleet):
    """The same, of processes that are started for it; `fleet` is its number."""
    processes = []
    setting = SETTINGS.get(setting_name, Setting())
    with tempfile.TemporaryDirectory(prefix="gatemeter-bench-") as folder:
        try:
            if setting_name == MIDDLEWARE:
                running = services(processes)
            else:
                running = start_each(Path(folder), setting, names, processes)
            return measure(running, setting, rounds, seconds, fleet)
        finally:
            end(processes)


def costs_table(name, measured, titles, bases, caption):
    rows = []
    for variant, costs in measured.items():
        all_rounds, base = flat(costs), measured[bases[variant]]
        cells = [titles[variant], f"{min(all_rounds):.2f}", f"{statistics.median(all_rounds):.2f}"]
        rows.append(cells + (["", "", ""] if base is costs else added_row(costs, base)))
    show(name, ["variant", "min", "median", *ADDED_HEADS], rows, caption=caption)


def ratios_table(name, measured, titles):
    rows = []
    for ours, peer, target in TARGETS:
        if ours in measured and peer in measured:
            costs = measured[ours], measured[peer], measured["bare"]
            rows.append(ratio_row(f"{titles[ours]}, of {titles[peer]}", *costs, target))
    if rows:
        show(name, RATIO_HEADS, rows)


def run(setting_name, names, asked):
    fleets = [
        measured_fleet(setting_name, names, asked.rounds, asked.seconds, fleet)
        for fleet in range(asked.fleets)
    ]
    measured = {name: [fleet[name] for fleet in fleets] for name in fleets[0]}
    caption = (
        f"Microseconds. Fleets: {asked.fleets}; rounds of each: {asked.rounds}; "
        f"seconds for each variant: {asked.seconds}."
    )
    if setting_name == MIDDLEWARE:
        bases = {name: base for base, with_it in FRAMEWORKS.items() for name in (base, with_it)}
        costs_table(MIDDLEWARE, measured, dict(zip(measured, measured)), bases, caption)
        return
    titles = {name: variant.title for name, variant in variants().items()}
    name = asked.name or setting_name
    costs_table(f"request-{name}", measured, titles, dict.fromkeys(measured, "bare"), caption)
    ratios_table(f"ratios-{name}", measured, titles)


def parse_arguments():
    parser = argparse.ArgumentParser(description="CPU per request, by variant")
    parser.add_argument("--fleets", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5, help="for each fleet")
    parser.add_argument("--seconds", type=int, default=1, help="for each variant in each round")
    known = [*SETTINGS, MIDDLEWARE]
    parser.add_argument(
        "--settings", nargs="+", choices=known, default=known[:1], metavar="SETTING",
        help=f"of {', '.join(known)}; {known[0]} where none is given",
    )
    parser.add_argument("--name", help="of the tables, in place of that of the setting")
    add_variants_option(parser, [name for name in variants() if name not in STEPS])
    return parser.parse_args()


def main():
    asked = parse_arguments()
    names = list(dict.fromkeys(["bare", *asked.variants]))
    for setting in asked.settings:
        run(setting, names, asked)


if __name__ == "__main__":
    main()
