"""Real Envoys with a module; what their configuration consists of.

Needs what `make tools wasm` leaves. MODULE=path measures another module.
"""

import json
import os
from pathlib import Path

from processes import ROOT, free_ports, on_core, tool, until_answered

MODULE = Path(os.environ.get("MODULE", ROOT / "dist" / "gatemeter_filter.wasm"))
NATIVE_MODULE = ROOT / "dist" / "libgatemeter_native.so"
TYPE = "type.googleapis.com/envoy.extensions."


def module(kind, plugin, wasm=MODULE, vm_id="api"):
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
                    "vm_id": vm_id,
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
