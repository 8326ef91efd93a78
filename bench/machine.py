"""On what the benchmarks ran, as far as it bears on the figures; no names, no paths."""

import datetime
import hashlib
import os
import platform
import re
import subprocess
from pathlib import Path

from envoys import MODULE
from processes import tool
from tables import block


def cpu_model():
    """As Linux has it; the architecture where it has none."""
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    return found.group(1).strip() if found else platform.machine()


def version(program, *arguments):
    """The first version that the program prints."""
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=True)
    return re.search(r"\d+\.\d+\.\d+", done.stdout).group(0)


def machine_table(name):
    content = MODULE.read_bytes()
    rows = [
        ("date", datetime.datetime.now(datetime.UTC).date().isoformat()),
        ("CPU", f"{cpu_model()}, {os.cpu_count()} cores"),
        ("kernel", f"{platform.system()} {platform.release().partition('-')[0]}"),
        ("Envoy", version(tool("envoy"), "--version")),
        ("Prometheus", version(tool("prometheus"), "--version")),
        ("Rust", version("rustc", "--version")),
        ("module", f"{len(content):,} bytes, SHA-256 {hashlib.sha256(content).hexdigest()[:12]}"),
    ]
    return block(name, ["what", "of this run"], rows)
