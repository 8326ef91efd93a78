"""What the benchmarks compare: ways to count requests in Envoy, and the requests.

All variants count by method, path and status, but for bare Envoy and the floors.
"""

from dataclasses import dataclass

from envoys import MODULE, NATIVE_MODULE, TYPE, cluster, module, native_module, start
from load import LOAD_CORE, SERVER_CORE
from processes import ROOT, TARGET, built

FILTER = "filters.http.wasm.v3.Wasm"
LOGGER = "access_loggers.wasm.v3.WasmAccessLog"
PLUGIN = {"service": "api", "routes": ["/api/content/:id"]}
PATH = "/api/content/42"


@dataclass(frozen=True)
class Variant:
    """What is put into Envoy, and how tables call it."""

    title: str
    filters: tuple = ()
    loggers: tuple = ()


def compared(name):
    """A module of bench/modules, built."""
    wasm = TARGET / "wasm32-wasip1" / "release" / f"gatemeter_{name}_module.wasm"
    return built(wasm, "make bench-modules")


def native_logger():
    """Envoy's own stats access logger with the same labels; the path is raw."""
    tags = {"method": "%REQ(:METHOD)%", "path": "%REQ(:PATH)%", "status": "%RESPONSE_CODE%"}

    def stat(name, labels):
        return {"name": name, "tags": [{"name": t, "value_format": tags[t]} for t in labels]}

    return {
        "name": "envoy.access_loggers.stats",
        "typed_config": {
            "@type": TYPE + "access_loggers.stats.v3.Config",
            "stats_scope": {"prefix": "native"},
            "counters": [{"stat": stat("requests", ["method", "path", "status"]), "value_fixed": 1}],
            "histograms": [
                {
                    "stat": stat("duration", ["method", "path"]),
                    "unit": "Milliseconds",
                    "value_format": "%DURATION%",
                }
            ],
        },
    }


def lua_filter():
    source = {"filename": str(ROOT / "bench" / "counting.lua")}
    return {
        "name": "envoy.filters.http.lua",
        "typed_config": {"@type": TYPE + "filters.http.lua.v3.Lua", "default_source_code": source},
    }


# The floor made of ever more, until it is `floor` or `floor-logger`: the clock is read
# where a filter is created and at its end, an access logger has Envoy's duration.
STEPS = {
    "filter-callbacks": (FILTER, ()),
    "filter-clock": (FILTER, ("clock",)),
    "filter-request": (FILTER, ("clock", "request")),
    "logger-callback": (LOGGER, ()),
    "logger-request": (LOGGER, ("request",)),
    "logger-maps": (LOGGER, ("request", "response")),
}


def step(kind, reads):
    """The floor that reads only these."""
    title = "a filter that reads " if kind == FILTER else "an access logger that reads "
    only = module(kind, {"reads": reads}, compared("steps"))
    where = {"filters" if kind == FILTER else "loggers": (only,)}
    return Variant(title + (" and ".join(reads) or "nothing"), **where)


def variants():
    """By the names that the command lines know; ends the program where a module is missing."""
    built(MODULE, "make wasm")
    built(NATIVE_MODULE, "make native")
    naive, floor = compared("naive"), compared("floor")
    return {
        "bare": Variant("bare Envoy"),
        "native": Variant("native stats logger", loggers=(native_logger(),)),
        "lua": Variant("Lua filter", (lua_filter(),)),
        "naive": Variant("naive SDK filter", (module(FILTER, {}, naive),)),
        "floor": Variant("floor: our host calls alone", (module(FILTER, {}, floor),)),
        "floor-walk": Variant(
            "floor that also walks over the headers", (module(FILTER, {"walks": True}, floor),)
        ),
        "floor-logger": Variant(
            "floor as access logger", loggers=(module(LOGGER, {}, floor),)
        ),
        "logger": Variant("Gatemeter, access logger", loggers=(module(LOGGER, PLUGIN),)),
        "filter": Variant("Gatemeter, filter", (module(FILTER, PLUGIN),)),
        "native-module": Variant("Gatemeter, native module", (native_module(PLUGIN),)),
        **{name: step(*reads) for name, reads in STEPS.items()},
    }


def add_variants_option(parser, usual):
    parser.add_argument(
        "--variants", nargs="+", choices=list(variants()), default=usual, metavar="VARIANT",
        help=f"of {', '.join(variants())}; bare is always among them",
    )


# What a browser sends beside the pseudo-headers, and what a service answers.
BROWSER = {
    "accept": "application/json, text/plain, */*",
    "accept-encoding": "gzip, deflate, br, zstd",
    "accept-language": "en-GB,en;q=0.5",
    "cache-control": "no-cache",
    "cookie": "session=0b9c1f2e7a3d4c5f8e6a7b1c2d3e4f50; consent=necessary; theme=dark",
    "dnt": "1",
    "origin": "https://media.example",
    "pragma": "no-cache",
    "priority": "u=1, i",
    "referer": "https://media.example/titles/42?from=home",
    "sec-fetch-dest": "empty",
    "sec-fetch-mode": "cors",
    "sec-fetch-site": "same-site",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "x-requested-with": "XMLHttpRequest",
}
ANSWER = {
    "cache-control": "private, max-age=60",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "etag": '"33a64df551425fcc55e4d42a148795d9f25f89d4"',
    "strict-transport-security": "max-age=31536000",
    "vary": "accept-encoding, origin",
    "x-content-type-options": "nosniff",
    "x-request-id": "8b2c1f0e-1111-4222-8333-abcdefabcdef",
}
# What a service can say to the filter beside it.
SIGNALS = {
    "cache-status": "redis; hit; ttl=42",
    "server-timing": "db;dur=12.3, render;dur=4",
    "x-db-pool": "active=15, idle=25",
}


@dataclass(frozen=True)
class Setting:
    """The requests that all variants of one table get."""

    proxied: bool = False
    request: tuple = ()
    response: tuple = ()

    def answering(self):
        """A route that answers itself."""
        added = [{"header": {"key": key, "value": value}} for key, value in self.response]
        body = {"inline_string": '{"id":42,"title":"A title"}'}
        return {
            "match": {"prefix": "/"},
            "direct_response": {"status": 200, "body": body},
            "response_headers_to_add": added,
        }

    def envoy(self, service):
        """What `start` needs for it; `service` is the port behind a proxied route."""
        if not self.proxied:
            return {"routes": [self.answering()]}
        route = {"match": {"prefix": "/"}, "route": {"cluster": "service"}}
        return {"routes": [route], "clusters": [cluster(service)]}


SMALL, BROWSER_SIZED = ((), ()), (tuple(BROWSER.items()), tuple(ANSWER.items()))
SETTINGS = {
    "direct-small": Setting(False, *SMALL),
    "direct-browser": Setting(False, *BROWSER_SIZED),
    "proxied-small": Setting(True, *SMALL),
    "proxied-browser": Setting(True, *BROWSER_SIZED),
    "proxied-signals": Setting(True, BROWSER_SIZED[0], (*ANSWER.items(), *SIGNALS.items())),
}


def start_each(folder, setting, names, processes, service=None):
    """Process and port of each of these variants; what it starts is added to `processes`.

    Where a setting needs a service and no port of one is given, it starts an Envoy
    that answers as one, on the core of the load.
    """
    if setting.proxied and service is None:
        process, service, _ = start(
            folder, "the service", [], [], core=LOAD_CORE, routes=[setting.answering()]
        )
        processes.append(process)
    running = {}
    for name in names:
        variant = variants()[name]
        process, port, _ = start(
            folder,
            variant.title,
            variant.filters,
            variant.loggers,
            core=SERVER_CORE,
            **setting.envoy(service),
        )
        processes.append(process)
        running[name] = process, port
    return running
