"""Choose the learning rate of each method and rank with one budget for all."""

import csv
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from experiments.config.compose import Compose, check_file
from experiments.config.presets import find_row, parse, presets, put_rows, written
from experiments.metrics import LOWER_IS_BETTER
from experiments.runs.identity import Run, run_name
from experiments.store.files import write_atomic
from experiments.store.store import RunRecord, Store
from experiments.sweeps.ensure import ensure
from experiments.sweeps.workers import Train
from experiments.tables.text import cell, markdown_rows, print_rows, shown_score
from lora.errors import check_choice

LABELS = ("method", "rank", "learning_rate")  # columns that say what a row of the table is of
Outcome = float | str | None  # of a run: its score, or collapsed | failed, or nothing where it was not made


@dataclass(frozen=True)
class Setting:
    """What gets a learning rate of its own: a method, at a rank where it has one; by rate a run for each task."""

    method: str
    rank: int | None
    runs: dict[float, list[Run]]

    def __str__(self) -> str:
        return self.method if self.rank is None else f"{self.method} rank {self.rank}"


@dataclass(frozen=True)
class Sweep:
    """What the runs of a setting gave, and the rate that is best by it; None where no rate ran well on every task."""

    setting: Setting
    outcomes: dict[float, list[Outcome]]
    means: dict[float, float]  # of the rates that ran well on every task
    rate: float | None

    @property
    def edge(self) -> bool:
        """Whether the chosen rate ends its grid, so that one beyond may be better."""
        return self.rate in (min(self.outcomes), max(self.outcomes))


def report(cfg: DictConfig, model: list[str], compose_train: Compose, train: Train) -> dict[str, Any]:
    """Check, plan, train what is missing, choose, print, save; `model` are overrides. Returns the last line."""
    metrics = check(cfg, compose_train)
    settings, tables = plan(cfg, model, compose_train), Path(cfg.store) / "tables"
    kept = earlier(tables / f"{cfg.model.name}.csv", cfg.tasks, settings)
    rows = {str(setting): preset_row(cfg, setting) for setting in settings} if cfg.write else {}
    runs = [run for setting in settings for at_rate in setting.runs.values() for run in at_rate]
    records, problems = ensure(runs, Store(cfg.store), cfg.jobs, train if cfg.train else None)
    outcomes = {run.name: outcome(records.get(run.name), run.name in problems) for run in runs}
    lower = not LOWER_IS_BETTER.isdisjoint(metrics.values())
    sweeps = [choose(setting, outcomes, lower) for setting in settings]
    files = show_and_save(sweeps, metrics, kept, tables, cfg.model.name)
    chosen = [(sweep, sweep.rate) for sweep in sweeps if sweep.rate is not None]
    if cfg.write and chosen:
        new = [rows[str(sweep.setting)] | {"trainer.learning_rate": written(rate)} for sweep, rate in chosen]
        files.append(put_rows(cfg.preset, new))
    return {
        "model": cfg.model.name, "runs": len(runs),
        "missing": [name for name, found in outcomes.items() if found is None],
        "failed": [*(name for name, found in outcomes.items() if found == "failed"),
                   *(str(sweep.setting) for sweep in sweeps if sweep.rate is None)],
        "chosen": [{"method": sweep.setting.method, "rank": sweep.setting.rank, "learning_rate": rate,
                    "mean": sweep.means[rate], "edge": sweep.edge} for sweep, rate in chosen],
        "files": [str(path) for path in files],
    }


def check(cfg: DictConfig, compose_train: Compose) -> dict[str, str]:
    """The main metric of each task; ValueError for what cannot be swept or compared, before anything runs."""
    check_list("tasks", cfg.tasks)
    named: dict[str, Iterable[str]] = {"method": cfg.rates, "task": cfg.tasks}
    for group, words in named.items():
        for word in words:
            check_file(group, word)
    check_choice("preset", cfg.preset, presets())
    check_list("ranks", cfg.ranks, (int,), "a whole number above 0")
    for method, rates in cfg.rates.items():
        check_list(f"rates.{method}", rates, (int, float), "a number above 0")
    if len({len(rates) for rates in cfg.rates.values()}) != 1:
        counts = ", ".join(f"{method} has {len(rates)}" for method, rates in cfg.rates.items())
        raise ValueError(f"one budget for all: each method needs the same number of rates, but {counts or 'none is'}")
    metrics = {task: _main_metric(task, compose_train) for task in cfg.tasks}
    if len({metric in LOWER_IS_BETTER for metric in metrics.values()}) > 1:
        words = ", ".join(f"{task} has {metric}" for task, metric in metrics.items())
        raise ValueError(f"a mean needs metrics of one direction; lower is better of "
                         f"{', '.join(sorted(LOWER_IS_BETTER))} alone, but {words}")
    return metrics


def check_list(what: str, values: Any, kinds: tuple[type[Any], ...] = (), words: str = "") -> None:
    """ValueError unless `values` is a list of one or more, none of them twice, of `kinds` and above 0."""
    if not OmegaConf.is_list(values) or not values:
        raise ValueError(f"{what} {values!r} is not a list of one or more")
    for value in values:
        if kinds and (isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < math.inf):
            raise ValueError(f"{what}: {value!r} is not {words}")
        if list(values).count(value) > 1:
            raise ValueError(f"{what}: {value!r} is there twice")


def _main_metric(task: str, compose_train: Compose) -> str:
    """What the task's score is; ValueError where it has no development rows to choose by."""
    found = compose_train([f"task={task}"]).task
    splits = OmegaConf.select(found, "source.rows", default={"development": None})  # the hub's: a tenth of train
    if "evaluate_on" not in found or "development" not in splits:
        raise ValueError(f"task {task!r} has no development rows, which rates are chosen on: "
                         f"it has {', '.join(splits) if 'evaluate_on' in found else 'no evaluate_on'}")
    return str(found.main_metric)


def plan(cfg: DictConfig, model: list[str], compose_train: Compose) -> list[Setting]:
    """Every method, and each of its ranks, with a run for each rate, lowest first, and task."""
    settings = []
    for method, rates in cfg.rates.items():
        ranked = "rank" in compose_train([f"method={method}"]).method
        for rank in cfg.ranks if ranked else [None]:
            own = [] if rank is None else [f"method.rank={rank}"]
            common = [*model, f"method={method}", f"preset={cfg.preset}", *own, "task.evaluate_on=development",
                      f"seed={cfg.seed}", "trainer.save_adapter=false", f"store='{cfg.store}'"]
            by_task = [_runs([f"task={task}", *common], sorted(rates), compose_train) for task in cfg.tasks]
            at_rate = zip(*by_task, strict=True)
            settings.append(Setting(str(method), rank, dict(zip(sorted(rates), map(list, at_rate), strict=True))))
    return settings


def _runs(overrides: list[str], rates: list[float], compose_train: Compose) -> list[Run]:
    """One run a rate. The config is composed once: composing is slow, and rates differ in one key alone."""
    cfg, runs = compose_train(overrides), []
    for rate in rates:
        cfg.trainer.learning_rate = rate
        runs.append(Run(run_name(cfg), cfg.seed, (*overrides, f"trainer.learning_rate={written(rate)}")))
    return runs


def outcome(record: RunRecord | None, problem: bool) -> Outcome:
    """The score of a run that is done, else why it has none; `problem`: it failed."""
    if record is None:
        return "failed" if problem else None
    return record.score if record.status == "done" else record.status


def choose(setting: Setting, outcomes: Mapping[str, Outcome], lower: bool) -> Sweep:
    """The rate with the best mean, the lowest of equals; `lower`: a lower score is better."""
    found = {rate: [outcomes[run.name] for run in runs] for rate, runs in setting.runs.items()}
    scores = {rate: [value for value in values if isinstance(value, int | float)] for rate, values in found.items()}
    means = {rate: statistics.mean(values) for rate, values in scores.items() if len(values) == len(found[rate])}
    best = (min if lower else max)(means, key=means.__getitem__, default=None)
    return Sweep(setting, found, means, best)


def earlier(file: Path, tasks: Iterable[str], settings: list[Setting]) -> list[list[Any]]:
    """The rows that a table has of other settings; ValueError, before anything runs, if it is of other tasks."""
    if not file.exists():
        return []
    with file.open(newline="") as stream:
        columns, *rows = csv.reader(stream)
    if (there := columns[len(LABELS):-2]) != list(tasks):
        raise ValueError(f"{file} is of a sweep over {', '.join(there)}, not over {', '.join(tasks)}: take another "
                         "store")
    new = {(setting.method, "" if setting.rank is None else str(setting.rank)) for setting in settings}
    return [[method, int(rank) if rank else None, rate, *map(_outcome, found), choice]
            for method, rank, rate, *found, choice in rows if (method, rank) not in new]


def _outcome(text: str) -> Outcome:
    """A cell of the table as it was before it was written."""
    try:
        return float(text) if text else None
    except ValueError:
        return text


def show_and_save(sweeps: list[Sweep], metrics: Mapping[str, str], kept: list[list[Any]], folder: Path,
                  name: str) -> list[Path]:
    """Print a line for each rate, `kept` before, and write them to <name>.csv in full and to <name>.md as printed."""
    common = set(metrics.values())
    of_mean = common.pop() if len(common) == 1 else None
    columns = [*LABELS, *metrics, "mean", "choice"]
    rows = kept + [[sweep.setting.method, sweep.setting.rank, written(rate), *values, sweep.means.get(rate),
                    mark(sweep, rate)] for sweep in sweeps for rate, values in sweep.outcomes.items()]
    of_columns = [*metrics.values(), of_mean]
    shown = [[*row[:3], *(value if isinstance(value, str) else shown_score(metric, value)
                          for metric, value in zip(of_columns, row[3:-1], strict=True)), row[-1]] for row in rows]
    print_rows(columns, shown)
    whole = pd.DataFrame(rows, columns=columns, dtype=object).to_csv(index=False)
    printed = markdown_rows(columns, [list(map(cell, row)) for row in shown])
    return [write_atomic(folder / f"{name}.csv", whole), write_atomic(folder / f"{name}.md", f"{printed}\n")]


def mark(sweep: Sweep, rate: float) -> str:
    """What a line of the table says of the choice."""
    if sweep.rate is None:
        return "no choice"
    return "" if rate != sweep.rate else "chosen, edge" if sweep.edge else "chosen"


def preset_row(cfg: DictConfig, setting: Setting) -> dict[str, str]:
    """The row that the preset gives a setting, as this model's own; its rate is yet to be put in.

    A rank has a row of its own, unless it is the one that the preset gives to runs without a rank.
    """
    general = find_row(cfg.preset, cfg.model.name, setting.method, "*")
    key = {"model": cfg.model.name, "method": setting.method, "task": "*", "source": cfg.store}
    if setting.rank is None or parse(general.get("method.rank") or "") == setting.rank:
        row, new = general, key | ({"rank": ""} if "rank" in general else {})
    else:
        rank = str(setting.rank)
        row = find_row(cfg.preset, cfg.model.name, setting.method, "*", rank)
        new = key | {"rank": rank, "method.rank": rank}
    if lacks := sorted({*new, "trainer.learning_rate"} - row.keys()):
        raise ValueError(f"preset {cfg.preset!r} has no column {', '.join(lacks)} for the rate of {setting}")
    return row | new
