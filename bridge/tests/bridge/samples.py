"""The samples that somebody else's parser finds, one a line, for comparison.

usage: samples.py openmetrics|text|prometheus

Reads from standard input: a page, for the strict OpenMetrics parser or the text
parser of the official client; or the answer of Prometheus's API to an instant
query. Writes the lines in order: name, labels and value, parted by tabs. What a
parser objects to ends the program with its message.
"""

import json
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text

# What Prometheus adds to each series.
ADDED = {"__name__", "instance", "job"}


def of_page(families):
    for family in families:
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def of_api(answer):
    assert answer["status"] == "success", answer
    for series in answer["data"]["result"]:
        labels = series["metric"]
        name = labels["__name__"]
        if name == "up" or name.startswith("scrape_"):
            continue
        yield name, {k: v for k, v in labels.items() if k not in ADDED}, series["value"][1]


def main():
    sys.stdin.reconfigure(encoding="utf-8", newline="")
    sys.stdout.reconfigure(encoding="utf-8")
    page = sys.stdin.read()
    samples = {
        "openmetrics": lambda: of_page(openmetrics(page)),
        "text": lambda: of_page(text(page)),
        "prometheus": lambda: of_api(json.loads(page)),
    }[sys.argv[1]]()
    lines = []
    for name, labels, value in samples:
        # Bounds are numbers: 1 and 1.0 are one.
        shown = {k: repr(float(v)) if k == "le" else v for k, v in labels.items()}
        lines.append(f"{name}\t{json.dumps(shown, sort_keys=True)}\t{float(value)!r}")
    sys.stdout.writelines(f"{line}\n" for line in sorted(lines))


if __name__ == "__main__":
    main()
