#!/usr/bin/env python3
"""What a page of the bridge costs, beside Envoy's own pages of the same stats.

A real Envoy with the module is filled with stats, from one number of them to the next
(bench/filled.py); for each a bridge is started. Then in turn, round after round:
Envoy's /stats with the filter that the bridge sends, Envoy's /stats/prometheus of the
same stats (with the tags that make labels of them), the bridge's /metrics, and the same
with gzip. The CPU of the bridge is that of all of its threads, that of Envoy's main
thread its own, from /proc/PID/task/*/schedstat; memory is VmHWM and VmRSS of
/proc/PID/status. Then 100 scrapers at once; a Prometheus that scrapes the bridge, and one
that scrapes Envoy's page and relabels it; and, where stats are fewest, many scrapes in a
row. Linux only; needs what `make bench-scrape` builds.
"""

import argparse
import re
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bridges import GZIP, answer_size, ask, fetch, start_bridge
from filled import FilledEnvoy, stats_path, text
from processes import cpu_nanoseconds, end, main_thread_nanoseconds, memory
from rounds import in_turn
from scrapes import RELABELLING, scraped
from tables import show

SCRAPERS = 100
# Rounds, and seconds between two scrapes of Prometheus, by number of stats: what a round
# takes grows with them, and how far it varies falls.
STATS = {1_000: (31, 1), 10_000: (31, 1), 50_000: (15, 1), 100_000: (11, 2), 200_000: (5, 2)}
PAGE, ZIPPED, PLAIN, PROMETHEUS = "page", "gzip", "stats", "prometheus"


def all_at_once(*request):
    """Seconds until many scrapers that ask at the same moment have their answers."""
    begin = time.perf_counter()
    connections = [ask(*request) for _ in range(SCRAPERS)]
    with ThreadPoolExecutor(SCRAPERS) as pool:
        list(pool.map(answer_size, connections))
    return time.perf_counter() - begin


def requests_of(admin):
    """How many requests Envoy's admin interface has had, this one among them."""
    stats = text(admin, "/stats?filter=^http.admin.downstream_rq_total$")
    return int(re.search(r": (\d+)", stats).group(1))


class Figures:
    """Times and CPU in milliseconds, by way, of all rounds; and the sizes of the answers."""

    def __init__(self, envoy, reader, ways, rounds):
        self.times = {way: [] for way in ways}
        self.of_bridge = {way: [] for way in ways}
        self.of_envoy = {way: [] for way in ways}
        self.sizes = {}
        for turn, order in in_turn(ways, rounds + 2):
            for way in order:
                before = cpu_nanoseconds(reader.pid), main_thread_nanoseconds(envoy.pid)
                seconds, self.sizes[way] = fetch(*ways[way])
                time.sleep(0.01)  # what is done after the answer counts, too
                after = cpu_nanoseconds(reader.pid), main_thread_nanoseconds(envoy.pid)
                if turn > 2:  # the first rounds warm up
                    self.times[way].append(seconds * 1000)
                    self.of_bridge[way].append((after[0] - before[0]) / 1e6)
                    self.of_envoy[way].append((after[1] - before[1]) / 1e6)

    def rows(self):
        """What they say, by the names of the table's rows."""
        size = self.sizes
        took, cpu, main = map(_medians, (self.times, self.of_bridge, self.of_envoy))
        of_stats = _median_of_pairs(self.of_envoy, PAGE, PLAIN)
        return {
            "bytes of Envoy's `/stats`; `/stats/prometheus`": f"{size[PLAIN]:,}; {size[PROMETHEUS]:,}",
            "bytes of the page; with gzip": f"{size[PAGE]:,}; {size[ZIPPED]:,}",
            "Envoy's `/stats`; `/stats/prometheus`, ms": f"{took[PLAIN]:.1f}; {took[PROMETHEUS]:.1f}",
            "page, end to end; with gzip, ms": f"{took[PAGE]:.1f}; {took[ZIPPED]:.1f}",
            "of Envoy's `/stats/prometheus`, median of pairs (at most 0.80)":
                f"{_median_of_pairs(self.times, PAGE, PROMETHEUS):.2f}",
            "CPU of the bridge a page; with gzip, ms": f"{cpu[PAGE]:.1f}; {cpu[ZIPPED]:.1f}",
            "of Envoy's time for `/stats` (at most 0.25)": f"{cpu[PAGE] / took[PLAIN]:.2f}",
            "CPU of Envoy's main thread for `/stats`; `/stats/prometheus`, ms":
                f"{main[PLAIN]:.1f}; {main[PROMETHEUS]:.1f}",
            "the same for the bridge's read, ms": f"{main[PAGE]:.1f}",
            "of that for `/stats`, median of pairs (at most 1)": f"{of_stats:.2f}",
        }


def _medians(measured):
    return {way: statistics.median(values) for way, values in measured.items()}


def _median_of_pairs(measured, way, other):
    return statistics.median(a / b for a, b in zip(measured[way], measured[other]))


def measured(folder, envoy, rounds, scrapes, interval):
    """What everything costs with the stats that there are: figures, by the table's rows."""
    reader, port = start_bridge(folder, envoy.admin)
    path = stats_path()
    ways = {
        PLAIN: (envoy.admin, path),
        PROMETHEUS: (envoy.admin, path.replace("/stats", "/stats/prometheus")),
        PAGE: (port, "/metrics"),
        ZIPPED: (port, "/metrics", GZIP),
    }
    try:
        rows = {"rounds": f"{rounds}"}
        figures = Figures(envoy.process, reader, ways, rounds)
        rows |= figures.rows()
        peak = memory(reader.pid, "VmHWM")
        rows["peak memory of the bridge, MB"] = f"{peak / 1e6:.1f}"
        rows["in pages (at most 4)"] = f"{peak / figures.sizes[PAGE]:.1f}"
        before = requests_of(envoy.admin)
        took = all_at_once(*ways[ZIPPED]) * 1000
        # The question itself is one request.
        reads = requests_of(envoy.admin) - before - 1
        peak = memory(reader.pid, "VmHWM") / 1e6
        rows[f"{SCRAPERS} scrapers at once, gzip: reads of Envoy (at most 2)"] = str(reads)
        rows["all have their page, ms; peak memory, MB"] = f"{took:.0f}; {peak:.1f}"
        for page, way, rules in (
            ("the bridge's page", PAGE, ()),
            ("Envoy's Prometheus page, relabelled", PROMETHEUS, RELABELLING),
        ):
            ms, samples, cpu = scraped(folder, *ways[way], rules, scrapes, interval)
            cells = f"{ms:.0f}; {cpu:.0f}; {samples:,}"
            rows[f"Prometheus scrapes {page}: ms; its CPU, ms; samples"] = cells
        return rows
    finally:
        end([reader])


def in_a_row(folder, admin, scrapes):
    """Memory of a bridge in MB after a tenth and after all of so many scrapes."""
    reader, port = start_bridge(folder, admin)
    found = {}
    try:
        for scrape in range(1, scrapes + 1):
            fetch(port, "/metrics", GZIP if scrape % 2 else "")
            if scrape in (scrapes // 10, scrapes):
                found[f"{scrape:,}"] = f"{memory(reader.pid, 'VmRSS') / 1e6:.2f}"
    finally:
        end([reader])
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--stats", nargs="+", type=int, choices=STATS, default=list(STATS))
    parser.add_argument("--rounds", type=int, help="in place of the usual ones for so many stats")
    parser.add_argument("--scrapes", type=int, default=4, help="of each Prometheus")
    parser.add_argument("--in-a-row", type=int, default=5_000, help="scrapes of the fewest stats")
    asked = parser.parse_args()
    columns = {}
    with tempfile.TemporaryDirectory(prefix="gatemeter-bench-") as folder:
        envoy = FilledEnvoy(Path(folder))
        try:
            for stats in sorted(asked.stats):
                envoy.fill(stats)
                if not columns:
                    after = in_a_row(Path(folder), envoy.admin, asked.in_a_row)
                rounds, interval = STATS[stats]
                columns[f"{envoy.held():,}"] = measured(
                    Path(folder), envoy, asked.rounds or rounds, asked.scrapes, interval
                )
        finally:
            end([envoy.process])
    names = next(iter(columns.values()))
    show("page", ["stats", *columns], [[name, *(each[name] for each in columns.values())] for name in names])
    heads = [f"scrapes in a row, {next(iter(columns))} stats", "resident memory of the bridge, MB"]
    show("page-memory", heads, after.items())


if __name__ == "__main__":
    main()
