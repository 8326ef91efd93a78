"""What the benchmarks share: real Envoys with a module, and what they cost.

Linux only; needs what `make tools wasm` leaves. MODULE=path measures another module.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
MODULE = Path(os.environ.get("MODULE", ROOT / "dist" / "gatemeter_filter.wasm"))
NATIVE_MODULE = ROOT / "dist" / "libgatemeter_native.so"
TYPE = "type.googleapis.com/envoy.extensions."


def tool(name):
    """A tool of `make tools`, or of the PATH; ends the program where there is none."""
    local = ROOT / ".tools" / "bin" / name
    found = str(local) if local.exists() else shutil.which(name)
    if not found:
        sys.exit(f"{name} is missing; run: make tools")
    return found


def module(kind, plugin, wasm=MODULE):
    """A module as filter (kind `filters.http.wasm.v3.Wasm`) or as access logger."""
    return {
        "name": wasm.stem,
        "typed_config": {
            "@type": TYPE + kind,
            "config": {
                "name": "gatemeter-api",
                "failure_policy": "FAIL_RELOAD",
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": json.dumps(plugin),
                },
                "vm_config": {
                    "vm_id": "api",
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": str(wasm)}},
                },
            },
        },
    }


def native_module(plugin):
    """The native dynamic module as filter."""
    return {
        "name": NATIVE_MODULE.stem,
        "typed_config": {
            "@type": TYPE + "filters.http.dynamic_modules.v3.DynamicModuleFilter",
            "dynamic_module_config": {
                "module": {"local": {"filename": str(NATIVE_MODULE)}},
                "do_not_close": True,
                "metrics_namespace": "wasmcustom",
            },
            "filter_name": "gatemeter",
            "filter_config": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": json.dumps(plugin),
            },
        },
    }


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def cluster(port):
    """The cluster `service` with the server on this port."""
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}]
    return {
        "name": "service",
        "load_assignment": {"cluster_name": "service", "endpoints": endpoints},
    }


def configuration(filters, loggers, port, admin, routes=None, tags=(), clusters=()):
    """One listener with these routes; one that answers all with 200 where none are given."""
    router = {"name": "router", "typed_config": {"@type": TYPE + "filters.http.router.v3.Router"}}
    everything = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    manager = {
        "@type": TYPE
        + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "api",
        "access_log": list(loggers),
        "http_filters": [*filters, router],
        "route_config": {
            "virtual_hosts": [{"name": "api", "domains": ["*"], "routes": routes or [everything]}]
        },
    }
    listener = {
        "name": "api",
        "address": address(port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return {
        "admin": {"address": address(admin)},
        "stats_config": {"stats_tags": list(tags)},
        "static_resources": {"listeners": [listener], "clusters": list(clusters)},
    }


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for held in sockets:
        held.bind(("127.0.0.1", 0))
    ports = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return ports


def start(folder, name, filters, loggers, workers=1, core=None, poll=0.05, **more):
    """An Envoy that is ready: the process, its port and that of its admin interface.

    On one core only where that is given; `poll` is how long it sleeps, in seconds,
    before it asks again whether Envoy is ready.
    """
    port, admin = free_ports(2)
    config = folder / f"{admin}.json"
    config.write_text(json.dumps(configuration(filters, loggers, port, admin, **more)))
    command = [tool("envoy"), "-c", str(config), "--disable-hot-restart"]
    command += ["--concurrency", str(workers), "-l", "error"]
    command = on_core(core, command)
    ready = f"127.0.0.1:{admin}/ready"
    process = until_answered(name, command, folder / f"{admin}.log", ready, poll)
    return process, port, admin


def on_core(core, command):
    """The command, held to one core where that is given."""
    return command if core is None else ["taskset", "-c", str(core), *command]


def end(processes):
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()


def until_answered(name, command, log, url, poll=0.05):
    """Starts a server and waits until it answers; ends the program where it does not."""
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(f"http://{url}", timeout=1):
                return process
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                sys.exit(f"{name} does not start:\n{log.read_text()}")
            time.sleep(poll)


def cpu_nanoseconds(pid):
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)
