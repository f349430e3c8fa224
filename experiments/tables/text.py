"""Text of tables: cells, Markdown rows, and rows printed to standard output at any width.

On a terminal that is narrower than a table, no cell is cut: names are folded at their separators, and columns that
have no room follow in a second block below the first, beside the same labels.
"""

import re
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from experiments.metrics import decimals

DASH = "–"
GAP = 3       # characters between two columns
MARGIN = 2    # characters that a printed table is wider than its columns and gaps
NARROWEST = 8  # characters of a folded column


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]], groups: Sequence[int] | None = None,
               labels: int | None = None) -> None:
    """A table of values on standard output; None is a dash. `groups`: a blank line after each so many rows.

    `labels`: how many columns name a row; None: those before the first column of numbers.
    """
    texts = [[cell(value) for value in row] for row in rows]
    numeric = [is_numeric([row[i] for row in texts]) for i in range(len(columns))]
    console = _console()
    for block in blocks(columns, texts, numeric, console.width, labels):
        grid = RichTable(box=box.SIMPLE_HEAD)
        for i, width in block.items():
            grid.add_column(Text(fold(columns[i], width)), justify="right" if numeric[i] else "left", no_wrap=True)
        ends = {sum(groups[:n + 1]) - 1 for n in range(len(groups))} if groups else set()
        for n, row in enumerate(texts):
            grid.add_row(*(Text(fold(row[i], width)) for i, width in block.items()), end_section=n in ends)
        console.print(grid)


def print_lines(lines: Sequence[str], style: str = "") -> None:
    """Lines of text on standard output, wrapped at the width of a terminal."""
    console = _console()
    for line in lines:
        console.print(Text(one_line(line), style=style))


def blocks(columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool],
           width: int, labels: int | None) -> list[dict[int, int]]:
    """The columns of each block, by index, with their widths: all in one where they fit into `width` characters.

    Else each block starts with the labels, which take half of it at most.
    """
    widths = [max(map(len, (name, *(row[i] for row in rows)))) for i, name in enumerate(columns)]
    if sum(widths) + GAP * len(widths) + MARGIN <= width:
        return [dict(enumerate(widths))]
    first = labels or max(1, next((i for i, is_number in enumerate(numeric) if is_number), 1))
    narrow, room = dict(enumerate(widths[:first])), width - MARGIN
    while sum(narrow.values()) + GAP * first > room // 2 and max(narrow.values()) > NARROWEST:
        narrow[max(narrow, key=narrow.__getitem__)] -= 1
    room -= sum(narrow.values()) + GAP * first
    parts: list[dict[int, int]] = []
    left = 0
    for i in range(first, len(widths)):
        needed = widths[i] if numeric[i] else min(widths[i], max(NARROWEST, room - GAP))
        if not parts or needed + GAP > left:
            parts.append(dict(narrow))
            left = room
        parts[-1][i] = needed
        left -= needed + GAP
    return parts or [narrow]


def fold(text: str, width: int) -> str:
    """`text` on lines of at most `width` characters, broken after a space or a separator where there is one."""
    lines = [""]
    for part in re.findall(r"[^\s\-_/,;:+=]*[\s\-_/,;:+=]?", text):
        if len(lines[-1]) + len(part.rstrip()) > width and lines[-1]:
            lines.append("")
        while len(part.rstrip()) > width:
            lines[-1:] = [part[:width], ""]
            part = part[width:]
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def is_numeric(texts: Sequence[str]) -> bool:
    """Whether the cells of a column are numbers, with what may follow one, or dashes."""
    numbers = [text for text in texts if text not in ("", "-", DASH)]
    return bool(numbers) and all(re.match(rf"([-+]?[\d.,]*\d|{DASH})", text) for text in numbers)


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


def markdown_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A header and lines below it in GitHub's table syntax."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(escape_markdown, line)) + " |" for line in lines)


def escape_markdown(text: str) -> str:
    """`text` on one line, with no character that would start emphasis, a tag or a cell."""
    return re.sub(r"([\\|*<`])", r"\\\1", one_line(text))


def _console() -> Console:
    """Standard output as wide as its terminal; as wide as anything printed where it is none."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 10_000
    return console


def one_line(text: str) -> str:
    """`text` with its white space as single spaces."""
    return re.sub(r"\s+", " ", text).strip()
