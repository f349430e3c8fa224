"""Publish a study of adapters or a figure: print it, write its files, and log the same to wandb."""

from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from omegaconf import DictConfig

from analysis.figures.style import caption_of, remove_caption, styled
from analysis.studies.study import Study
from experiments.store.files import write_atomic
from experiments.store.logger import Logger
from experiments.tables.publish import Sheet
from experiments.tables.text import escape_markdown, markdown_rows, print_lines, print_rows


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
