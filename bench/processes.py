"""The processes of the benchmarks: started until they answer, measured, ended by id.

Linux only: what a process costs is read below /proc. Whoever is told to end (SIGTERM)
leaves by way of an exception, so that what it started ends before it.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
# How long a server may take until it answers, and until it has ended, in seconds.
PATIENCE = 20

signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))


def tool(name):
    """A tool of `make tools`, or of the PATH; ends the program where there is none."""
    local = ROOT / ".tools" / "bin" / name
    found = str(local) if local.exists() else shutil.which(name)
    if not found:
        sys.exit(f"{name} is missing; run: make tools")
    return found


def built(path, command):
    """The path; ends the program where nothing is there."""
    if not path.exists():
        sys.exit(f"{path} is missing; run: {command}")
    return path


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for held in sockets:
        held.bind(("127.0.0.1", 0))
    ports = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return ports


def on_core(core, command):
    """The command, held to one core where that is given."""
    return command if core is None else ["taskset", "-c", str(core), *command]


def until_answered(name, command, log, url, poll=0.05):
    """Starts a server and waits until it answers; ends the program where it does not.

    `poll` is how long it sleeps, in seconds, before it asks again.
    """
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    deadline = time.monotonic() + PATIENCE
    try:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"http://{url}", timeout=1):
                    return process
            except OSError:
                time.sleep(poll)
    except BaseException:
        end([process])
        raise
    end([process])
    sys.exit(f"{name} does not start:\n{log.read_text()}")


def end(processes):
    """Ends them all; kills those that do not end by themselves."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def cpu_nanoseconds(pid):
    """CPU that all threads of a process have had."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(_had(thread) for thread in threads)


def main_thread_nanoseconds(pid):
    """CPU that the main thread has had; on it Envoy answers its admin interface."""
    return _had(Path(f"/proc/{pid}/task/{pid}"))


def _had(thread):
    return int((thread / "schedstat").read_text().split()[0])


def memory(pid, key):
    """Bytes, by a key of /proc/PID/status: VmHWM is the peak, VmRSS the present."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"^{key}:\s+(\d+) kB", status, re.M).group(1)) * 1024
