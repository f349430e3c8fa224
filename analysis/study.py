"""What the commands of this package share: the choice of sites, and how tables and figures leave.

A study is computed whole before anything is written. It is printed, and its tables (CSV, and Markdown with notes and
problems) and figures (PNG and PDF) go to the output folder and to wandb.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from omegaconf import DictConfig, ListConfig, OmegaConf

from analysis.adapters import locate
from analysis.statistics import Interval
from analysis.style import save_figure
from analysis.updates import Problem, Update
from experiments.files import write_atomic
from experiments.logger import Logger, check_logger
from experiments.runs import RunRecord, Store
from experiments.sweep import cell, print_rows
from experiments.tables import escape_markdown, markdown_rows

ALL = "all"


@dataclass(frozen=True)
class Study:
    """Tables and figures by name, and what a reader must know."""

    name: str                       # of the command: files begin with it
    title: str
    tables: Mapping[str, pd.DataFrame]  # the first is the reading, and is printed last
    details: Mapping[str, pd.DataFrame]  # tables for programs alone: CSV
    figures: Mapping[str, Figure]
    notes: Sequence[str]
    problems: Sequence[Problem]


def check_choices(cfg: DictConfig, required: Sequence[str]) -> None:
    """ValueError for what is not given, and for sites, layers, level or samples that cannot be."""
    check_logger(cfg.logger)
    for key in required:
        if cfg[key] is None:
            raise ValueError(f"{key} is not given: {key}=<run, folder or loralib file>")
    if not 0 < cfg.get("level", 0.5) < 1:
        raise ValueError(f"level {cfg.level} is not between 0 and 1")
    if cfg.get("samples", 1) < 1:
        raise ValueError(f"samples {cfg.samples} is not at least 1")


def chosen_sites(cfg: DictConfig) -> list[str] | None:
    """The roles that `sites` names, or None for all."""
    return None if cfg.sites in (None, ALL) else [str(site) for site in _several(cfg.sites)]


def chosen_layers(cfg: DictConfig) -> list[int] | None:
    """The numbers that `layers` names, or None for all."""
    if cfg.layers in (None, ALL):
        return None
    layers = _several(cfg.layers)
    if not layers or any(not isinstance(layer, int) or isinstance(layer, bool) for layer in layers):
        raise ValueError(f"layers {cfg.layers!r} is neither {ALL} nor numbers, as [0,5,11]")
    return layers


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, ListConfig | list) else [value]


def role_names(updates: Sequence[Update]) -> dict[str, str]:
    """By module, the name of its matrices: the role, with the module's last word where a layer has two of a role."""
    words: dict[str, set[str]] = {}
    for update in updates:
        words.setdefault(update.role, set()).add(update.word)
    return {f"{u.module} {u.role}": u.role if len(words[u.role]) == 1 else f"{u.role} {u.word}" for u in updates}


def name_of(update: Update, names: Mapping[str, str]) -> str:
    """The update's name among role_names."""
    return names[f"{update.module} {update.role}"]


def place(layer: int | None) -> str:
    """A layer in words."""
    return "outside the layers" if layer is None else f"layer {layer}"


def run_of(source: str | Path) -> tuple[Store, RunRecord] | None:
    """The run that an adapter is of, where its store is known."""
    folder = locate(source)
    if folder.parent.name != "adapters":
        return None
    store = Store(folder.parent.parent)
    try:
        record = store.read(folder.name)
    except ValueError:
        return None
    return None if record is None else (store, record)


def short_name(source: str | Path) -> str:
    """What a caption calls an adapter: method, task, model and seed of a run, or the name of the file or folder."""
    if (found := run_of(source)) is None:
        return locate(source).name
    config = found[1].config
    method = config["method"]
    size = f" r = {method['rank']}" if "rank" in method else ""
    return f"{method['name']}{size} on {config['task']['name']}, {config['model']['name']}, seed {found[1].seed}"


def shown(interval: Interval, digits: int = 3) -> str:
    """'0.42 [0.31, 0.50]', without brackets for a single value."""
    text = f"{interval.mean:.{digits}g}"
    if interval.low is None or interval.high is None:
        return text
    return f"{text} [{interval.low:.{digits}g}, {interval.high:.{digits}g}]"


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
