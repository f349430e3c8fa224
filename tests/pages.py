"""Numbers and tables on the pages for people, each read from the file that its mark names.

    <!-- results/nano/tables/table2.csv our_method=lora column=rte {ours:.1f} ± {spread:.1f} -->99.0 ± 0.7<!-- / -->
    <!-- results/cpu/step/step.json {variants[ours][over_peft]:.2f} -->0.95<!-- / -->
    <!-- table results/minilm/tables/table6.md -->
    | the first table of that file |
    <!-- / -->

Paths start at the repository. `key=value` words select one row of a CSV file or of a table in a .md file; the rest of
a mark is a template in Python's format syntax. `make pages` (python -m tests.pages) writes all marks anew.
"""

import csv
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MARK = re.compile(r"<!-- (?P<body>(?:table )?\S+\.(?:csv|json|md)\b.*?) -->(?P<text>.*?)<!-- / -->", re.DOTALL)


class Field(str):
    """A cell of a table: text as it stands, or a number where a format is given."""

    def __format__(self, spec: str) -> str:
        return format(int(self) if self.isdigit() else float(self), spec) if spec else str(self)


def pages() -> list[Path]:
    """README.md and CONTRIBUTING.md, and the README.md of every folder."""
    folders = ["lora", "analysis", "experiments", "conf", "results"]
    below = [path for folder in folders for path in (ROOT / folder).rglob("README.md") if "local" not in path.parts]
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(below)]


def rewritten(page: str) -> str:
    """The page with the text of every mark as its file has it."""
    return MARK.sub(lambda mark: f"<!-- {mark['body']} -->{marked_text(mark['body'])}<!-- / -->", page)


def marked_text(body: str) -> str:
    """The text that belongs into a mark; ValueError names a mark whose file has no such row, key or table."""
    if body.startswith("table "):
        return "\n" + "\n".join(table_lines((ROOT / body.removeprefix("table ")).read_text())) + "\n"
    head, brace, template = body.partition("{")
    file, *conditions = shlex.split(head)
    try:
        return (brace + template).format_map(values(ROOT / file, dict(word.split("=", 1) for word in conditions)))
    except (OSError, KeyError, IndexError, ValueError) as error:
        raise ValueError(f"mark {body!r}: {type(error).__name__}: {error}") from error


def values(file: Path, conditions: Mapping[str, str]) -> Mapping[str, Any]:
    """A JSON file's object, or the one row of a table whose columns have the values of `conditions`."""
    if file.suffix == ".json":
        return dict(json.loads(file.read_text()))
    if unknown := conditions.keys() - table_rows(file)[0].keys():
        raise ValueError(f"columns {sorted(unknown)} are not among {', '.join(table_rows(file)[0])}")
    rows = [row for row in table_rows(file) if all(row[key] == value for key, value in conditions.items())]
    if len(rows) != 1:
        raise ValueError(f"{len(rows)} rows of {file.name} fit, not one")
    return rows[0]


def table_rows(file: Path) -> list[dict[str, Field]]:
    """The rows of a CSV file, or of the first table of a .md file, by column."""
    if file.suffix == ".csv":
        with file.open(newline="") as text:
            return [{key: Field(value) for key, value in row.items()} for row in csv.DictReader(text)]
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table_lines(file.read_text())]
    return [dict(zip(header, map(Field, row), strict=True)) for row in rows]


def table_lines(text: str) -> list[str]:
    """The lines of the first table of a Markdown text."""
    table = re.search(r"(?:^\|.*\n?)+", text, re.MULTILINE)
    if table is None:
        raise ValueError("no table in this file")
    return table[0].splitlines()


def main() -> None:
    """Write the marks of every page anew."""
    for path in pages():
        if (page := rewritten(path.read_text())) != path.read_text():
            path.write_text(page)
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
