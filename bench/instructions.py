#!/usr/bin/env python3
"""Instructions of the hot parts, as Callgrind counts them: the same on every run.

Each kind of work that bench/instructions knows is done for two numbers of rounds; the
difference is the work without what was prepared for it. Linux only; needs Valgrind
and what `make bench-instructions` builds.
"""

import re
import subprocess
import sys

from processes import TARGET, built, tool
from tables import show

PROGRAM = TARGET / "release" / "gatemeter-bench-instructions"
ROUNDS = (2, 6)


def counted(work, rounds):
    """Instructions of the whole process, and how many units a round had."""
    command = [tool("valgrind"), "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    command += [str(PROGRAM), work, str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True)
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not collected:
        sys.exit(f"{' '.join(command)}:\n{done.stderr}")
    return int(collected.group(1)), int(done.stdout)


def main():
    program = built(PROGRAM, "make bench-instructions")
    listed = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    few, many = ROUNDS
    rows = []
    for line in listed.splitlines():
        work, unit = line.split("\t")
        (least, units), (most, _) = counted(work, few), counted(work, many)
        each = (most - least) / (many - few) / units
        rows.append([work, f"{each:,.0f} per {unit}", f"{units:,}"])
    show("instructions", ["work", "instructions", "in a round"], rows)


if __name__ == "__main__":
    main()
