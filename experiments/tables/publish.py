"""Publish a study: print it, write its tables and figures, and log the same to wandb."""

from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf

from analysis.figures.style import styled
from analysis.studies.study import Study
from experiments.store.files import write_atomic
from experiments.store.logger import Logger
from experiments.tables.text import cell, escape_markdown, markdown_rows, print_rows


def publish(study: Study, cfg: DictConfig) -> dict[str, Any]:
    """Release a command's study into its `output_dir`."""
    config = {key: value for key, value in _plain(cfg).items() if key != "logger"}
    return release(study, Path(cfg.output_dir), cfg.logger, config, {})


def release(study: Study, folder: Path, logger_config: DictConfig, config: Mapping[str, Any],
            also: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Print the study, write its files, give wandb the same; returns the record of the last line.

    wandb's run has the `config`, and the tables of `also`, which are written elsewhere.
    """
    for name, table in reversed(list(study.tables.items())):
        print(name.replace("_", " "))
        print_rows(list(table.columns), _values(table))
    for line in [*study.notes, *(f"problem: {problem}" for problem in study.problems)]:
        print(line)
    every = {**study.tables, **study.details}
    files = [write_atomic(folder / f"{name}.csv", table.to_csv(index=False)) for name, table in every.items()]
    files.append(write_atomic(folder / f"{study.name}.md", markdown(study)))
    pictures = {name: save_figure(figure, folder, name) for name, figure in study.figures.items()}
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


def markdown(study: Study) -> str:
    """Title, tables, pictures, notes and problems."""
    parts = [f"**{escape_markdown(study.title)}**"]
    parts += [markdown_rows(list(table.columns), [list(map(cell, row)) for row in _values(table)])
              for table in study.tables.values()]
    parts += [f"![{name}]({name}.png)" for name in study.figures]
    lines = [*study.notes, *(f"problem: {problem}" for problem in study.problems)]
    return "\n\n".join([*parts, "\n".join(f"- {escape_markdown(line)}" for line in lines)]) + "\n"


def _values(table: pd.DataFrame) -> list[list[Any]]:
    """Rows of values, an empty cell None; numbers below ten keep three digits."""
    filled = table.astype(object).where(table.notna(), None)
    return [[f"{value:.3g}" if isinstance(value, float) and abs(value) < 10 else value for value in row]
            for row in filled.values.tolist()]


def _plain(cfg: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


METADATA = {"png": {"Software": None}, "pdf": {"Creator": None, "Producer": None, "CreationDate": None}}


def save_figure(figure: Figure, folder: Path, name: str, formats: Iterable[str] = ("png", "pdf")) -> list[Path]:
    """<name>.png and .pdf, each whole or not at all, the same bytes from the same numbers."""
    files = []
    for suffix in formats:
        content = BytesIO()
        with styled():
            figure.savefig(content, format=suffix, metadata=METADATA[suffix])
        files.append(write_atomic(folder / f"{name}.{suffix}", content.getvalue()))
    return files
