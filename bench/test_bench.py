#!/usr/bin/env python3
"""Whether the tables of the benchmarks find their places, and how a run fails."""

import contextlib
import io
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import run
from rounds import added_of_pairs, in_turn, interval, ratio_row
from tables import Misplaced, block, blocks, written


class Tables(unittest.TestCase):
    def setUp(self):
        self.document = run.DOCUMENT.read_text()

    def test_every_mark_of_the_document_is_known_to_a_part_and_the_other_way_round(self):
        printed = [run.MACHINE, *(name for part in run.PARTS for name in part.tables)]
        self.assertEqual(sorted(blocks(self.document)), sorted(printed))

    def test_a_recorded_table_takes_the_place_of_the_old_one_and_nothing_else_changes(self):
        new = block("start", ["variant", "ms"], [["filter", 1], ["bare", 2]], caption="Rounds: 3.")
        recorded = written(self.document, {"start": new})
        self.assertEqual(recorded.replace(new, blocks(self.document)["start"]), self.document)
        self.assertEqual(blocks(recorded), blocks(self.document) | {"start": new})
        self.assertIn("\n| variant | ms |\n|---|---|\n| filter | 1 |\n| bare | 2 |\n", recorded)
        self.assertEqual(written(recorded, {"start": new}), recorded)

    def test_a_table_without_a_place_is_refused(self):
        new = {"elsewhere": block("elsewhere", ["a"], [[1]])}
        with self.assertRaisesRegex(Misplaced, "no place for elsewhere"):
            written(self.document, new)

    def test_a_mark_that_stands_twice_or_alone_is_refused(self):
        table = block("start", ["a"], [[1]])
        begin, _, rest = table.partition("\n")
        other = table.replace('end of "start"', 'end of "page"')
        for text in (f"{table}\n{table}", begin, rest, other):
            with self.subTest(text), self.assertRaises(Misplaced):
                blocks(text)


class Runs(unittest.TestCase):
    def run_with(self, script, *arguments, limit=60):
        """Status and errors of a run whose only part is this shell script."""
        with tempfile.TemporaryDirectory() as folder:
            document = Path(folder) / "benchmarks.md"
            document.write_text(run.DOCUMENT.read_text())
            program = Path(folder) / "part"
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)
            parts = (run.Part("only", str(program), ("start",)),)
            output, errors = io.StringIO(), io.StringIO()
            with (
                mock.patch.multiple(run, PARTS=parts, LIMIT=limit, DOCUMENT=document, ROOT=Path(folder)),
                mock.patch("sys.argv", ["run.py", *arguments]),
                contextlib.redirect_stdout(output),
                contextlib.redirect_stderr(errors),
            ):
                status = run.main()
            self.assertIn("=== only (1 of 1)", output.getvalue())
            return status, errors.getvalue(), document.read_text()

    def test_a_part_that_fails_fails_the_run_and_records_nothing(self):
        printed = block("start", ["a"], [["new"]])
        for script, reason in (
            (f"cat <<'END'\n{printed}\nEND\nexit 3", "part ended with status 3"),
            ("true", "it printed the tables nothing, not start"),
            ("exec sleep 60", "not done after 0.2 s"),
        ):
            with self.subTest(reason):
                status, errors, document = self.run_with(script, "--record", limit=0.2 if "sleep" in script else 60)
                self.assertEqual(status, 1)
                self.assertIn("bench: only failed after", errors)
                self.assertIn(reason, errors)
                self.assertEqual(document, run.DOCUMENT.read_text())

    def test_only_a_run_that_is_told_to_record_writes_the_document(self):
        printed = block("start", ["a"], [["new"]])
        for arguments in ([], ["--record"]):
            status, errors, document = self.run_with(f"cat <<'END'\n{printed}\nEND", *arguments)
            self.assertEqual((status, errors), (0, ""))
            self.assertEqual(printed in document, bool(arguments))

    def test_a_part_of_a_run_cannot_be_recorded(self):
        for more in ("--quick", "start"):
            with mock.patch("sys.argv", ["run.py", "--record", more]), contextlib.redirect_stderr(io.StringIO()):
                with self.assertRaises(SystemExit):
                    run.main()


class Rounds(unittest.TestCase):
    def test_an_interval_is_a_point_where_all_rounds_agree_and_wider_the_more_they_differ(self):
        base = [[10.0, 11.0, 14.0], [12.0, 10.0, 13.0]]
        shifted = [[cost + 5 for cost in fleet] for fleet in base]
        self.assertEqual(interval(added_of_pairs, shifted, base), (5, 5))
        noisy = [[15.0, 17.0, 18.0], [18.0, 14.0, 20.0]]
        least, most = interval(added_of_pairs, noisy, base)
        self.assertTrue(least < added_of_pairs(noisy, base) < most, (least, most))
        self.assertEqual((least, most), interval(added_of_pairs, noisy, base))

    def test_processes_that_differ_widen_it_more_than_rounds_that_do(self):
        base = [[10.0] * 4] * 4
        of_processes = [[cost] * 4 for cost in (14.0, 14.7, 15.3, 16.0)]
        of_rounds = [[14.0, 14.7, 15.3, 16.0]] * 4
        wide, narrow = (interval(added_of_pairs, costs, base) for costs in (of_processes, of_rounds))
        self.assertGreater(wide[1] - wide[0], narrow[1] - narrow[0])

    def test_a_ratio_is_of_what_is_added_to_the_base(self):
        base, theirs, ours = [[10.0, 12.0]], [[20.0, 22.0]], [[16.0, 18.0]]
        row = ratio_row("ours, of theirs", ours, theirs, base, 0.58)
        self.assertEqual(row, ["ours, of theirs", "0.60", "0.60 to 0.60", "0.60", "at most 0.58"])

    def test_each_round_has_every_variant_once_and_every_run_the_same_orders(self):
        names = ["bare", "naive", "floor", "filter"]
        orders = [order for _, order in in_turn(names, 20)]
        self.assertTrue(all(sorted(order) == sorted(names) for order in orders))
        self.assertGreater(len({tuple(order) for order in orders}), 10)
        self.assertEqual(orders, [order for _, order in in_turn(names, 20)])


if __name__ == "__main__":
    unittest.main()
