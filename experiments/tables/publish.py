"""Publish a table or a study: print it, write its files, and log the same to wandb. Nothing else writes a result."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from omegaconf import DictConfig

from analysis.figures.style import caption_of, remove_caption, styled
from analysis.studies.study import Study
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


def publish_study(study: Study, folder: Path, logger_config: DictConfig, config: Mapping[str, Any],
                  also: Mapping[str, pd.DataFrame], caption: bool = True) -> dict[str, Any]:
    """Print a study, write its tables and figures, give wandb the same; returns the record of the last line.

    wandb's run has the `config`, and the tables of `also`, which are written elsewhere. Captions stand in the
    Markdown, and where `caption` is true below the figures too.
    """
    sheets = {name: _sheet(name, table) for name, table in study.tables.items()}
    for name, sheet in reversed(sheets.items()):
        print(name.replace("_", " "))
        print_rows(sheet.header(), sheet.texts())
    print_lines([*study.notes, *(f"problem: {problem}" for problem in study.problems)])
    every = {**study.tables, **study.details}
    files = [write_atomic(folder / f"{name}.csv", table.to_csv(index=False)) for name, table in every.items()]
    files.append(write_atomic(folder / f"{study.name}.md", study_markdown(study)))
    pictures = {name: save_figure(figure, folder, name, caption=caption) for name, figure in study.figures.items()}
    files += [file for saved in pictures.values() for file in saved]
    first = next(iter(study.tables.values()))
    record = {"study": study.name, "title": study.title, "summary": first.to_dict("records"),
              "notes": list(study.notes), "problems": [str(problem) for problem in study.problems],
              "files": [str(file) for file in files]}
    with Logger(logger_config, study.name, config, folder, job_type="analysis") as logger:
        for name, table in {**every, **also}.items():
            logger.log_table(name, table)
        for name, (png, *_) in pictures.items():
            logger.log_picture(name, png)
        logger.log_summary({key: value for key, value in record.items() if key != "files"})
    return record


def study_markdown(study: Study) -> str:
    """Title, tables, pictures with their captions, notes and problems."""
    parts = [f"**{escape_markdown(study.title)}**"]
    sheets = [_sheet(name, table) for name, table in study.tables.items()]
    parts += [markdown_rows(sheet.header(), sheet.texts()) for sheet in sheets]
    for name, figure in study.figures.items():
        parts += [f"![{name}]({name}.png)", *filter(None, [escape_markdown(caption_of(figure))])]
    lines = [*study.notes, *(f"problem: {problem}" for problem in study.problems)]
    return "\n\n".join([*parts, "\n".join(f"- {escape_markdown(line)}" for line in lines)]) + "\n"


def _sheet(name: str, table: pd.DataFrame) -> Sheet:
    """A table of a study, an empty cell None; numbers below ten keep three digits."""
    filled = table.astype(object).where(table.notna(), None)
    rows = [[f"{value:.3g}" if isinstance(value, float) and abs(value) < 10 else value for value in row]
            for row in filled.values.tolist()]
    return Sheet(name, "", list(map(str, table.columns)), rows)


METADATA = {"png": {"Software": None}, "pdf": {"Creator": None, "Producer": None, "CreationDate": None}}


def save_figure(figure: Figure, folder: Path, name: str, formats: Iterable[str] = ("png", "pdf"),
                caption: bool = True) -> list[Path]:
    """<name>.png and .pdf, each whole or not at all, the same bytes from the same numbers; with its caption or not."""
    if not caption:
        remove_caption(figure)
    files = []
    for suffix in formats:
        content = BytesIO()
        with styled():
            figure.savefig(content, format=suffix, metadata=METADATA[suffix])
        files.append(write_atomic(folder / f"{name}.{suffix}", content.getvalue()))
    return files
