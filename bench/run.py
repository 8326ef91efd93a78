#!/usr/bin/env python3
"""Runs the benchmarks one after another, says how long each took, and keeps the tables.

    bench/run.py                    all of them
    bench/run.py start page         these only
    bench/run.py --record           all, and puts their tables into docs/benchmarks.md
    bench/run.py --quick            the least of each, to see that it works

The tables of the document are those of one run of one module: it is written at the end,
when every part has passed, and from a whole run alone. Any run fails where a part fails,
takes too long, prints other tables than it says here, or prints one that the document
has no place for. Needs what `make bench` builds. Exit status: 0 all passed, 1 one failed.
"""

import argparse
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

from envoys import MODULE
from machine import machine_table
from processes import ROOT, built, end
from tables import Misplaced, blocks, written
from variants import STEPS

DOCUMENT = ROOT / "docs" / "benchmarks.md"
# The most that a part may take, in seconds; on two cores it takes half of it.
LIMIT = 600


@dataclass(frozen=True)
class Part:
    """A script with its arguments, and what tables it prints."""

    name: str
    script: str
    tables: tuple
    usual: tuple = ()
    # In place of the usual ones in a quick run.
    quick: tuple = ()


ONE_ROUND = ("--fleets=1", "--rounds=1")
DECISIVE = ("--variants", "naive", "floor", "logger", "filter")
BROWSER = ("--settings", "proxied-browser")
MIDDLEWARE = ("--settings", "middleware")
FLOORS = ("--name=steps", "--variants", *STEPS, "floor", "floor-logger")
PARTS = (
    Part(
        "request", "request.py", ("request-direct-small", "ratios-direct-small"),
        (), (*ONE_ROUND, *DECISIVE),
    ),
    Part(
        "browser", "request.py", ("request-proxied-browser", "ratios-proxied-browser"),
        (*BROWSER, "--fleets=2", "--rounds=4"), (*BROWSER, *ONE_ROUND),
    ),
    Part(
        "steps", "request.py", ("request-steps",),
        (*FLOORS, "--fleets=2"), (*FLOORS, *ONE_ROUND),
    ),
    Part(
        "middleware", "request.py", ("middleware",),
        (*MIDDLEWARE, "--fleets=2"), (*MIDDLEWARE, *ONE_ROUND),
    ),
    Part("growth", "growth.py", ("growth",), (), ("--rounds=1", "--axes", "request headers")),
    Part("latency", "latency.py", ("latency",), (), ("--rounds=1", "--variants", "filter")),
    Part("bodies", "bodies.py", ("bodies",), (), ("--rounds=1",)),
    Part("start", "start.py", ("start", "start-ratios"), (), ("--rounds=1",)),
    Part(
        "page", "page.py", ("page", "page-memory"),
        (), ("--stats", "1000", "--rounds=1", "--scrapes=1", "--in-a-row=100"),
    ),
    Part("clients", "clients.py", ("clients",), (), ("--scrapes=3",)),
    Part("instructions", "instructions.py", ("instructions",)),
)
# What this program itself says of the run.
MACHINE = "machine"


class Failed(Exception):
    """Why a part has failed."""


def output_of(command):
    """Passes on what the command prints, and returns it."""
    late = threading.Event()
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:

        def stop():
            late.set()
            process.terminate()

        limit = threading.Timer(LIMIT, stop)
        limit.start()
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
                lines.append(line)
            status = process.wait()
        finally:
            limit.cancel()
            end([process])
    if late.is_set():
        raise Failed(f"not done after {LIMIT} s")
    if status:
        raise Failed(f"{command[0].name} ended with status {status}")
    return "".join(lines)


def tables_of(part, quick):
    """What the part printed, by name."""
    found = blocks(output_of([ROOT / "bench" / part.script, *(part.quick if quick else part.usual)]))
    if found.keys() != set(part.tables):
        raise Failed(f"it printed the tables {', '.join(found) or 'nothing'}, not {', '.join(part.tables)}")
    return found


def parse_arguments():
    parser = argparse.ArgumentParser(description="runs the benchmarks")
    parser.add_argument("--record", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--quick", action="store_true", help="only to see that they work")
    names = [part.name for part in PARTS]
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join(names)}; all where none is given"
    )
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(names):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if asked.record and (asked.quick or asked.parts):
        parser.error("--record takes a whole run, so that all tables are of one")
    return asked


def main():
    asked = parse_arguments()
    module = built(MODULE, "make wasm").read_bytes()
    chosen = [part for part in PARTS if part.name in (asked.parts or [part.name])]
    new = blocks(machine_table(MACHINE))
    took, began = {}, time.monotonic()
    for number, part in enumerate(chosen, 1):
        print(f"\n=== {part.name} ({number} of {len(chosen)})", flush=True)
        before = time.monotonic()
        try:
            new |= tables_of(part, asked.quick)
            document = written(DOCUMENT.read_text(), new)
            if MODULE.read_bytes() != module:
                raise Failed("the module is another one than at the start of the run")
        except (Failed, Misplaced) as reason:
            seconds = time.monotonic() - before
            print(f"\nbench: {part.name} failed after {seconds:.0f} s: {reason}", file=sys.stderr)
            return 1
        took[part.name] = time.monotonic() - before
        print(f"\n=== {part.name}: {took[part.name]:.0f} s", flush=True)
    print(f"\n{new[MACHINE]}\n")
    each = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in took.items())
    print(f"bench: all passed in {(time.monotonic() - began) / 60:.1f} minutes: {each}")
    if asked.record:
        DOCUMENT.write_text(document)
        print(f"bench: wrote {DOCUMENT.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
