#!/usr/bin/env python3
"""Breaks the program on purpose, and fails where no test notices.

    scripts/mutants.py                 every mutation of scripts/mutants.toml
    scripts/mutants.py leaked_gauge    these only
    scripts/mutants.py --check         none, but fail where one no longer fits

Each is applied to a copy of the tree below target/mutants/, never to the
checkout, and must make each suite that it names fail: by a test, not by the
compiler. Its old text must stand in its file exactly once; where the code has
moved on, the list has to follow. Before, the suites must pass as they are.

Suites: core and bridge are the unit tests of these crates; host is the
module on the wasmtime host, and takes a build of it for each mutation.

Dependencies are built once, below target/mutants/ too. Exit status: 0 all
caught, 1 one survived or could not be tried, 64 an unknown name.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
TREE = TARGET / "mutants" / "tree"
# Its own: Cargo tells a copy of the workspace from the workspace by nothing, so in
# one folder it would take what was built of a mutation for the real thing.
BUILD = TARGET / "mutants" / "build"
WASM = "wasm32-wasip1"
# Of the tests of the filter those that show in seconds what ordinary traffic
# does; the exhaustive ones take minutes, and cost depends on how it is built.
HOST_TESTS = (
    "access_logger",
    "configuration",
    "duration",
    "endings",
    "labels",
    "series",
    "signals",
)
LONGEST = 600  # seconds; a suite that hangs has noticed something, too


class Broken(Exception):
    """The mutation could not be tried."""


def main() -> int:
    listed = tomllib.loads((ROOT / "scripts/mutants.toml").read_text())["mutant"]
    wanted = sys.argv[1:]
    if wanted == ["--check"]:
        return check(listed)
    unknown = set(wanted) - {mutant["name"] for mutant in listed}
    if unknown:
        print(f"mutants: unknown: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 64
    chosen = [mutant for mutant in listed if not wanted or mutant["name"] in wanted]

    started = time.monotonic()
    copy_tree()
    suites = {"core": unit("core"), "bridge": unit("bridge"), "host": host}
    try:
        for suite in dict.fromkeys(s for mutant in chosen for s in mutant["suites"]):
            if failed := suites[suite]():
                raise Broken(f"the suite {suite} fails as it is: {', '.join(failed)}")
            say("-", suite, "passes as it is", started)
    except Broken as broken:
        print(f"mutants: {broken}", file=sys.stderr)
        return 1

    survived = []
    for mutant in chosen:
        for suite in mutant["suites"]:
            try:
                failed = tried(mutant, suites[suite])
                outcome = verdict(failed) if failed else f"SURVIVED: {mutant['why']}"
            except Broken as broken:
                failed, outcome = [], f"NOT TRIED: {broken}"
            if not failed:
                survived.append(mutant["name"])
            say(mutant["name"], suite, outcome, started)
    if survived:
        print(f"mutants: not caught: {', '.join(survived)}", file=sys.stderr)
    return 1 if survived else 0


def check(listed: list[dict]) -> int:
    stale = 0
    for mutant in listed:
        try:
            mutated(mutant, ROOT)
        except Broken as broken:
            print(f"mutants: {mutant['name']}: {broken}", file=sys.stderr)
            stale = 1
    return stale


def say(name: str, suite: str, outcome: str, started: float) -> None:
    print(f"{time.monotonic() - started:4.0f} s  {name:28} {suite:6}  {outcome}", flush=True)


def verdict(failed: list[str]) -> str:
    more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
    return f"caught by {failed[0]}{more}"


def tried(mutant: dict, suite) -> list[str]:
    """The tests that fail while the mutation is in the copy."""
    path = TREE / mutant["file"]
    text = path.read_text()
    path.write_text(mutated(mutant, TREE))
    try:
        return suite()
    finally:
        path.write_text(text)


def mutated(mutant: dict, tree: Path) -> str:
    """The file of the mutation as that leaves it."""
    text = (tree / mutant["file"]).read_text()
    found = text.count(mutant["old"])
    if found != 1:
        raise Broken(f"its old text stands {found} times in {mutant['file']}; expected once")
    return text.replace(mutant["old"], mutant["new"])


def copy_tree() -> None:
    """What git tracks or would track; a file that did not change keeps its time."""
    listing = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], ROOT)
    wanted = {name for name in listing.split("\0") if name and (ROOT / name).is_file()}
    for name in wanted:
        source, copy = ROOT / name, TREE / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.exists() or copy.read_bytes() != source.read_bytes():
            shutil.copyfile(source, copy)
    for copy in sorted(TREE.rglob("*")):
        if copy.is_file() and str(copy.relative_to(TREE)) not in wanted:
            copy.unlink()


def unit(crate: str):
    package = f"gatemeter-{crate}"
    return lambda: failures(test_binary(["-p", package, "--lib"]), TREE / crate)


def host() -> list[str]:
    """The module on the host; its cost is not looked at, so it is built quickly."""
    cargo(
        ["build", "--release", "--target", WASM, "-p", "gatemeter-filter"],
        {"CARGO_PROFILE_RELEASE_LTO": "off", "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16"},
    )
    module = BUILD / WASM / "release" / "gatemeter_filter.wasm"
    dist = TREE / "dist"
    dist.mkdir(exist_ok=True)
    shutil.copyfile(module, dist / "gatemeter_filter.wasm")
    binary = test_binary(["-p", "gatemeter-host-tests", "--test", "filter"])
    return failures(binary, TREE / "host-tests", HOST_TESTS)


def test_binary(which: list[str]) -> Path:
    lines = cargo(["test", "--no-run", "--message-format", "json", *which]).splitlines()
    built = [json.loads(line) for line in lines if line.startswith("{")]
    [binary] = [b["executable"] for b in built if b.get("profile", {}).get("test")]
    return Path(binary)


def cargo(arguments: list[str], more: dict | None = None) -> str:
    environment = os.environ | {"CARGO_INCREMENTAL": "1"} | (more or {})
    own = ["--locked", "--target-dir", str(BUILD)]
    return run(["cargo", *arguments, *own], TREE, environment)


def run(command: list[str], folder: Path, environment: dict | None = None) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise Broken(f"{' '.join(command[:4])} ...: {last_error(done.stderr)}")
    return done.stdout


def last_error(text: str) -> str:
    errors = [line for line in text.splitlines() if line.startswith("error")]
    return errors[0] if errors else text.strip()[-300:]


def failures(binary: Path, folder: Path, parts: tuple[str, ...] = ()) -> list[str]:
    """The names of the tests of these parts, or of all, that failed."""
    command = [str(binary), "--format", "pretty", "--color", "never"]
    command += [f"{part}::" for part in parts]
    # A property test must not write its findings into the copy.
    environment = os.environ | {"PROPTEST_FAILURE_PERSISTENCE": "off"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LONGEST
        )
    except subprocess.TimeoutExpired:
        return [f"no end within {LONGEST} s"]
    ran = re.search(r"^test result: \w+\. (\d+) passed; (\d+) failed", done.stdout, re.M)
    if not ran or int(ran[1]) + int(ran[2]) == 0:
        raise Broken(f"{binary.name} ran no tests to their end")
    failed = re.findall(r"^test (\S+)(?: - should panic)? \.\.\. FAILED$", done.stdout, re.M)
    if bool(failed) != (done.returncode != 0):
        raise Broken(f"{binary.name} ended with {done.returncode}, {len(failed)} tests failed")
    return failed


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
