"""Text of tables: cells, Markdown rows, and rows printed to standard output."""

import re
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from experiments.metrics import decimals

DASH = "–"


def print_rows(columns: list[str], rows: list[list[Any]]) -> None:
    """A table of values on standard output; None is a dash."""
    table = RichTable()
    for column in columns:
        table.add_column(Text(column))  # of a string, rich would take [q,v] for markup
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row))
    console_for(table).print(table)


def shown_score(metric: str | None, value: float | None) -> float | str | None:
    """A score, or its spread, to be shown: as text where its metric has other decimals than `cell` gives it."""
    digits = decimals(metric or "")
    return value if value is None or digits == 2 else f"{value:.{digits}f}"


def cell(value: Any) -> str:
    """A value of a table as text."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) >= 0.01 or value == 0 else f"{value:g}"
    return str(value)


def markdown_rows(header: list[str], rows: list[list[str]]) -> str:
    """A header and lines below it in GitHub's table syntax."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(escape_markdown, line)) + " |" for line in lines)


def escape_markdown(text: str) -> str:
    """`text` on one line, with no character that would start emphasis, a tag or a cell."""
    return re.sub(r"([\\|*<`])", r"\\\1", one_line(text))


def console_for(grid: RichTable) -> Console:
    """Standard output: a terminal wraps what it is given, a file gets `grid` as wide as it is."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 10_000
        console.width = max(Measurement.get(console, console.options, grid).maximum, 100)
    return console


def one_line(text: str) -> str:
    """`text` with its white space as single spaces."""
    return re.sub(r"\s+", " ", text).strip()
