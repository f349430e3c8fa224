"""Publish a table: print it, write its files, and log the same to wandb. Nothing else writes a table of results."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from experiments.config.compose import run_config
from experiments.store.files import plain, write_atomic
from experiments.store.logger import Logger
from experiments.tables.latex import latex_table
from experiments.tables.names import NAMED, display_name
from experiments.tables.text import cell, escape_markdown, markdown_rows, print_lines, print_rows

FORMATS = ("md", "csv", "tex", "json")


@dataclass(frozen=True)
class Sheet:
    """A table as it is published. `rows` are shown: text stays, numbers are formatted by `cell`, None is a dash.

    Shown are the names of conf/names.yaml, in the header and in columns of NAMED; files for programs keep ids.
    """

    name: str                          # the files are <name>.md, .csv, .tex and .json
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    notes: Sequence[str] = ()
    frame: pd.DataFrame | None = None  # the same values in full precision, for .csv and wandb; None: `rows`
    record: Mapping[str, Any] | None = None  # for .json
    groups: Sequence[int] | None = None      # how many rows stand together, one group after the other; None: all
    labels: int | None = None          # how many columns name a row; None: those before the first column of numbers
    source: str = ""                   # the folder that the numbers are from; a last note, and in LaTeX a comment

    def full(self) -> pd.DataFrame:
        """The values in full precision."""
        if self.frame is not None:
            return self.frame
        return pd.DataFrame(list(map(list, self.rows)), columns=list(self.columns), dtype=object)

    def header(self) -> list[str]:
        """The names of the columns as they are shown."""
        return list(map(display_name, self.columns))

    def texts(self) -> list[list[str]]:
        """The cells as they are shown."""
        named = [column in NAMED for column in self.columns]
        return [[display_name(value) if is_name and isinstance(value, str) else cell(value)
                 for value, is_name in zip(row, named, strict=True)] for row in self.rows]

    def all_notes(self) -> list[str]:
        """The notes, and where the numbers are from."""
        return [*self.notes, *([f"from {self.source}"] if self.source else [])]


def publish(sheet: Sheet, folder: Path, formats: Collection[str] = ("md", "csv"),
            logger: Logger | None = None) -> list[Path]:
    """Print the sheet, write it in these `formats`, each file whole or not at all, and log it."""
    print_lines([sheet.title] if sheet.title else [], style="bold")
    print_rows(sheet.header(), sheet.texts(), sheet.groups, sheet.labels)
    print_lines(sheet.all_notes())
    texts = {"md": lambda: sheet_markdown(sheet), "csv": lambda: sheet.full().to_csv(index=False),
             "tex": lambda: sheet_latex(sheet),
             "json": lambda: json.dumps(plain(sheet.record), allow_nan=False) + "\n"}
    files = [write_atomic(folder / f"{sheet.name}.{suffix}", texts[suffix]())
             for suffix in FORMATS if suffix in formats]
    if logger is not None:
        logger.log_table(sheet.name, sheet.full())
    return files


def sheet_markdown(sheet: Sheet) -> str:
    """Title in bold, table, notes as a list."""
    title = [f"**{escape_markdown(sheet.title)}**"] if sheet.title else []
    lines = [f"- {escape_markdown(note)}" for note in sheet.all_notes()]
    notes = ["\n".join(lines)] if lines else []
    return "\n\n".join([*title, markdown_rows(sheet.header(), sheet.texts()), *notes]) + "\n"


def sheet_latex(sheet: Sheet) -> str:
    """A table environment; where the numbers are from is a comment above it."""
    source = f"% from {sheet.source}\n" if sheet.source else ""
    return source + latex_table(sheet.name, sheet.title, sheet.notes, sheet.header(), sheet.texts(), sheet.groups)


def publish_artifact(sheet: Sheet, cfg: DictConfig, formats: Collection[str] = ("md", "csv", "tex")) -> list[Path]:
    """Publish the table of an artifact below its store (`cfg.store`), and in a wandb run of its own."""
    store = Path(cfg.store)
    with Logger(cfg.logger, sheet.name, run_config(cfg), store, job_type="paper") as logger:
        return publish(sheet, store / "tables", formats, logger)
