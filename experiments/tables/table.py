"""A table of the paper with our numbers below the printed ones: what a cell says; one line a cell for programs.

Each row is two lines, `paper` as printed and `ours`: aggregate over seeds ± standard deviation over seeds
(ddof = 1), and in brackets the number of seeds. A row that the suite adds has the second alone. A cell without runs is
a dash.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from experiments.tables.publish import Sheet
from experiments.tables.text import DASH

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
    source: str = ""  # the folder that ours are from

    def header(self) -> list[str]:
        params, average = ["params"] * self.params, ["average"] * self.average
        return [*self.labels, "from", *params, *self.columns, *average]

    def blocks(self) -> list[list[list[str]]]:
        """By row its lines of text, paper then ours, as wide as the header."""
        return [[self._ours(row)] if row.source == ADDED else [self._paper(row), self._ours(row)] for row in self.rows]

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


def sheet_of(table: Table, name: str) -> Sheet:
    """The table as it is published: two lines for each row of the paper."""
    blocks = table.blocks()
    return Sheet(name, table.title, table.header(), [line for block in blocks for line in block], table.notes,
                 tidy(table), groups=[len(block) for block in blocks], labels=len(table.labels) + 1,
                 source=table.source)
