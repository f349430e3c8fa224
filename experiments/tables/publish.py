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
from experiments.config.compose import plain_dict
from experiments.store.files import plain, write_atomic
from experiments.store.logger import Logger
from experiments.tables.latex import latex_rows
from experiments.tables.text import cell, escape_markdown, markdown_rows, print_rows

FORMATS = ("md", "csv", "tex", "json")


@dataclass(frozen=True)
class Sheet:
    """A table as it is published. `rows` are shown: text stays, numbers are formatted by `cell`, None is a dash."""

    name: str                          # the files are <name>.md, .csv, .tex and .json
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    notes: Sequence[str] = ()
    frame: pd.DataFrame | None = None  # the same values in full precision, for .csv and wandb; None: `rows`
    record: Mapping[str, Any] | None = None  # for .json

    def full(self) -> pd.DataFrame:
        """The values in full precision."""
        if self.frame is not None:
            return self.frame
        return pd.DataFrame(list(map(list, self.rows)), columns=list(self.columns), dtype=object)


def publish(sheet: Sheet, folder: Path, formats: Collection[str] = ("md", "csv"),
            logger: Logger | None = None) -> list[Path]:
    """Print the sheet, write it in these `formats`, each file whole or not at all, and log it."""
    if sheet.title:
        print(sheet.title)
    print_rows(list(sheet.columns), [list(row) for row in sheet.rows])
    for note in sheet.notes:
        print(note)
    texts = {"md": lambda: sheet_markdown(sheet), "csv": lambda: sheet.full().to_csv(index=False),
             "tex": lambda: latex_rows(sheet.title, sheet.notes, sheet.columns, [[line] for line in _cells(sheet)]),
             "json": lambda: json.dumps(plain(sheet.record), allow_nan=False) + "\n"}
    files = [write_atomic(folder / f"{sheet.name}.{suffix}", texts[suffix]())
             for suffix in FORMATS if suffix in formats]
    if logger is not None:
        logger.log_table(sheet.name, sheet.full())
    return files


def sheet_markdown(sheet: Sheet) -> str:
    """Title in bold, table, notes as a list."""
    title = [f"**{escape_markdown(sheet.title)}**"] if sheet.title else []
    notes = ["\n".join(f"- {escape_markdown(note)}" for note in sheet.notes)] if sheet.notes else []
    return "\n\n".join([*title, markdown_rows(list(sheet.columns), _cells(sheet)), *notes]) + "\n"


def _cells(sheet: Sheet) -> list[list[str]]:
    return [[cell(value) for value in row] for row in sheet.rows]


def publish_command(study: Study, cfg: DictConfig) -> dict[str, Any]:
    """Publish the study of a command into its `output_dir`."""
    config = {key: value for key, value in plain_dict(cfg).items() if key != "logger"}
    return publish_study(study, Path(cfg.output_dir), cfg.logger, config, {})


def publish_study(study: Study, folder: Path, logger_config: DictConfig, config: Mapping[str, Any],
                  also: Mapping[str, pd.DataFrame], caption: bool = True) -> dict[str, Any]:
    """Print a study, write its tables and figures, give wandb the same; returns the record of the last line.

    wandb's run has the `config`, and the tables of `also`, which are written elsewhere. Captions stand in the
    Markdown, and where `caption` is true below the figures too.
    """
    for name, table in reversed(list(study.tables.items())):
        print(name.replace("_", " "))
        print_rows(list(table.columns), _values(table))
    for line in [*study.notes, *(f"problem: {problem}" for problem in study.problems)]:
        print(line)
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
    parts += [markdown_rows(list(table.columns), [list(map(cell, row)) for row in _values(table)])
              for table in study.tables.values()]
    for name, figure in study.figures.items():
        parts += [f"![{name}]({name}.png)", *filter(None, [escape_markdown(caption_of(figure))])]
    lines = [*study.notes, *(f"problem: {problem}" for problem in study.problems)]
    return "\n\n".join([*parts, "\n".join(f"- {escape_markdown(line)}" for line in lines)]) + "\n"


def _values(table: pd.DataFrame) -> list[list[Any]]:
    """Rows of values, an empty cell None; numbers below ten keep three digits."""
    filled = table.astype(object).where(table.notna(), None)
    return [[f"{value:.3g}" if isinstance(value, float) and abs(value) < 10 else value for value in row]
            for row in filled.values.tolist()]


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
