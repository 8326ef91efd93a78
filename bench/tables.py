"""The tables of the benchmarks, printed as docs/benchmarks.md has them: between marks.

So what a script prints can be put into the document as it is, and what stands in the
document can be found again. A table that the document has no place for is refused, and
so is one that stands there twice.
"""

import re

BEGIN = '<!-- The table "{}" is written by `make bench-record`. -->'
END = '<!-- The end of "{}", as `make bench-record` writes it. -->'
BLOCK = re.compile(
    re.escape(BEGIN).replace(r"\{\}", r"(?P<name>[a-z-]+)")
    + r"\n.*?^"
    + re.escape(END).replace(r"\{\}", r"(?P=name)")
    + r"$",
    re.DOTALL | re.MULTILINE,
)


class Misplaced(Exception):
    """A table and the document do not fit each other."""


def block(name, heads, rows, caption=""):
    """A table between its marks; the caption is a sentence above it."""
    lines = [BEGIN.format(name), ""]
    if caption:
        lines += [caption, ""]
    lines += [_line(heads), "|---" * len(heads) + "|", *map(_line, rows), "", END.format(name)]
    return "\n".join(lines)


def show(*table, **more):
    """Prints a table, at once also where a program reads it."""
    print("\n" + block(*table, **more), flush=True)


def blocks(text):
    """All tables of a text, with their marks, by name."""
    found = {}
    for match in BLOCK.finditer(text):
        if match["name"] in found:
            raise Misplaced(f"the table {match['name']} is there twice")
        found[match["name"]] = match[0]
    marks = text.count(BEGIN.partition("{}")[2]), text.count(END.partition("{}")[2])
    if marks != (len(found), len(found)):
        raise Misplaced(f"{len(found)} tables, but {marks[0]} that begin and {marks[1]} that end")
    return found


def written(document, new):
    """The document with these tables in place of its own of the same names."""
    lacking = new.keys() - blocks(document).keys()
    if lacking:
        raise Misplaced(f"the document has no place for {', '.join(sorted(lacking))}")
    return BLOCK.sub(lambda match: new.get(match["name"], match[0]), document)


def _line(cells):
    return f"| {' | '.join(map(str, cells))} |"
