#!/usr/bin/env python3
"""Writes grafana/dashboards/*.json, one file for each module in grafana/boards.

    build.py           write them
    build.py --check   say which files differ from what would be written, or hold
                       what Grafana's schema does not have; exit status 1 if any

Needs Python 3.11 and Grafana's SDK: scripts/tools.sh grafana-sdk
"""

import importlib
import json
import pkgutil
import sys
from pathlib import Path

import boards
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

FOLDER = Path(__file__).resolve().parent / "dashboards"


def written():
    """File name and text of every dashboard."""
    for module in pkgutil.iter_modules(boards.__path__):
        board = importlib.import_module(f"boards.{module.name}").BOARD
        yield f"{module.name}.json", as_grafana_reads(text_of(board.build()))


def text_of(board):
    return json.dumps(board, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def as_grafana_reads(text):
    """The text of what the SDK's classes read: the fields of Grafana's schema and
    no others, so what the schema does not have is lost on the way."""
    return text_of(Dashboard.from_json(json.loads(text)))


def complaints(files):
    """What is wrong with the committed files."""
    for name, text in files.items():
        path = FOLDER / name
        if not path.is_file():
            yield f"{name} is missing"
            continue
        committed = path.read_text(encoding="utf-8")
        if committed != text:
            yield f"{name} is not what its board says"
        if as_grafana_reads(committed) != committed:
            yield f"{name} has a field that is not in Grafana's schema"
    for path in sorted(FOLDER.glob("*.json")):
        if path.name not in files:
            yield f"{path.name} has no board"


def main(arguments):
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 64
    plugins.register_default_plugins()
    files = dict(written())
    if not arguments:
        for name, text in files.items():
            (FOLDER / name).write_text(text, encoding="utf-8")
        return 0
    found = list(complaints(files))
    for complaint in found:
        print(f"{complaint}; make dashboards writes it", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
