"""A table of the paper with our numbers below the printed ones: what a cell says; Markdown, CSV and LaTeX.

Each row is two lines, `paper` as printed and `ours`: aggregate over seeds ± standard deviation over seeds
(ddof = 1), and in brackets the number of seeds. A row that the suite adds has the second alone. A cell without runs is
a dash.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from experiments.store.files import write_atomic
from experiments.tables.latex import latex_rows
from experiments.tables.text import DASH, console_for, escape_markdown, markdown_rows, one_line

AGGREGATES: dict[str, Callable[[list[float]], float]] = {"median": statistics.median, "mean": statistics.mean}
ADDED = "suite"  # in the CSV column `source`: the paper has no such row
MARKS = {"prior": "*", "restricted": "†"}  # of the CSV column `source`, as the paper prints them
MARK_NOTES = {
    "prior": "* quoted by the paper from earlier work",
    "restricted": "† the paper's restricted setting: fixed batch size, length 128, no start from MNLI",
    ADDED: "rows without a line of the paper's are the suite's own",
}


@dataclass(frozen=True)
class Cell:
    """One printed number (as text, '' unknown) and the values of our finished runs, one a seed."""

    paper: str
    paper_std: str
    values: list[float]
    collapsed: int = 0

    def ours(self, aggregate: str) -> float | None:
        return AGGREGATES[aggregate](self.values) if self.values else None

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds, ddof = 1; None below two seeds."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Row:
    """One printed row: labels in the paper's words and in ours, and a cell for each column that we run."""

    labels: list[str]
    our_labels: list[str]
    source: str           # ours | prior | restricted | suite (the paper has none), or ''
    params: str           # trainable parameters as printed
    trainable: list[int]  # exact, head excluded; several where the runs of a row differ
    average: str          # as printed
    cells: dict[str, Cell]


@dataclass(frozen=True)
class Table:
    """Rows and how they are shown; `params` and `average` say whether those columns are there."""

    title: str
    labels: list[str]
    columns: list[str]
    rows: list[Row]
    aggregate: str
    digits: int
    params: bool
    average: bool
    notes: list[str]

    def header(self) -> list[str]:
        params, average = ["params"] * self.params, ["average"] * self.average
        return [*self.labels, "from", *params, *self.columns, *average]

    def blocks(self) -> list[list[list[str]]]:
        """By row its lines of text, paper then ours, as wide as the header."""
        return [[self._ours(row)] if row.source == ADDED else [self._paper(row), self._ours(row)] for row in self.rows]

    def lines(self) -> list[list[str]]:
        """All of them, one below the other."""
        return [line for block in self.blocks() for line in block]

    def _paper(self, row: Row) -> list[str]:
        cells = [row.cells.get(column, Cell("", "", [])) for column in self.columns]
        texts = [f"{c.paper} ± {c.paper_std}" if c.paper_std else c.paper or DASH for c in cells]
        mark = MARKS.get(row.source, "")
        params, average = [row.params or DASH] * self.params, [row.average or DASH] * self.average
        return [*row.labels, f"paper{mark}", *params, *texts, *average]

    def _ours(self, row: Row) -> list[str]:
        texts = [self._cell(row.cells[column]) if column in row.cells else DASH for column in self.columns]
        params = [" / ".join(f"{n:,}" for n in row.trainable) or DASH] * self.params
        values = [row.cells[column].ours(self.aggregate) for column in self.columns if column in row.cells]
        known = [value for value in values if value is not None]
        mean = f"{statistics.mean(known):.{self.digits}f}" if len(known) == len(self.columns) > 0 else DASH
        return [*row.our_labels, "ours", *params, *texts, *[mean] * self.average]

    def _cell(self, cell: Cell) -> str:
        """'86.5 ± 0.7 (3)', '86.5 (1, 2 collapsed)', '– (3 collapsed)' or a dash."""
        value, spread = cell.ours(self.aggregate), cell.spread
        text = DASH if value is None else f"{value:.{self.digits}f}"
        text += "" if spread is None else f" ± {spread:.{self.digits}f}"
        counts = [str(len(cell.values))] if cell.values else []
        counts += [f"{cell.collapsed} collapsed"] if cell.collapsed else []
        return f"{text} ({', '.join(counts)})" if counts else text


def markdown(table: Table) -> str:
    """GitHub's table syntax, title above and notes below."""
    notes = [f"- {escape_markdown(note)}" for note in table.notes]
    body = markdown_rows(table.header(), table.lines())
    return "\n".join([f"**{escape_markdown(table.title)}**", "", body, "", *notes, ""])


def latex(table: Table) -> str:
    """A table environment that needs no packages; every value is escaped."""
    return latex_rows(table.title, table.notes, table.header(), table.blocks())


def tidy(table: Table) -> pd.DataFrame:
    """One line a cell, for programs: labels, column, the printed number and ours in full precision."""
    records = [
        dict(zip(table.labels, row.labels, strict=True))
        | {f"our_{label}": word for label, word in zip(table.labels, row.our_labels, strict=True)}
        | {"source": row.source, "params_printed": row.params}
        | {"trainable": " / ".join(map(str, row.trainable))}
        | {"column": column, "paper": cell.paper, "paper_std": cell.paper_std, "aggregate": table.aggregate}
        | {"ours": cell.ours(table.aggregate), "spread": cell.spread}
        | {"seeds": len(cell.values), "collapsed": cell.collapsed}
        for row in table.rows
        for column, cell in row.cells.items()
    ]
    return pd.DataFrame(records)


def save(table: Table, folder: Path, name: str) -> list[Path]:
    """Write <name>.md, .csv and .tex, each whole or not at all."""
    texts = {"md": markdown(table), "csv": tidy(table).to_csv(index=False), "tex": latex(table)}
    return [write_atomic(folder / f"{name}.{suffix}", text) for suffix, text in texts.items()]


def show(table: Table) -> None:
    """Print the table to standard output."""
    grid = RichTable(box=box.SIMPLE_HEAD)
    first = len(table.labels) + 1
    for i, name in enumerate(table.header()):
        grid.add_column(Text(name), justify="left" if i < first else "right")
    for block in table.blocks():
        for line in block:
            grid.add_row(*map(Text, line))
        grid.add_section()
    console = console_for(grid)
    console.print(Text(table.title, style="bold"), grid)
    for note in table.notes:
        console.print(Text(one_line(note)))


