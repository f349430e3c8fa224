"""Choose the learning rate of each method and rank with one budget for all."""

import csv
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from experiments.config.compose import Compose, check_file, quoted
from experiments.config.presets import find_row, parse, presets, put_rows, written
from experiments.metrics import LOWER_IS_BETTER
from experiments.models.files import model_identity
from experiments.runs.identity import Run, planned_run
from experiments.store.files import file_name, plain
from experiments.store.store import RunRecord, Store
from experiments.sweeps.ensure import ensure
from experiments.sweeps.workers import Train
from experiments.tables.publish import Sheet, publish
from experiments.tables.text import shown_score
from lora.errors import check_choice

LABELS = ("method", "rank", "learning_rate")  # columns that say what a row of the table is of
Outcome = float | str | None  # of a run: its score, or collapsed | failed, or nothing where it was not made


@dataclass(frozen=True)
class RateSweep:
    """A method, at a rank where it has one, that gets a learning rate of its own; by rate a run for each task."""

    method: str
    rank: int | None
    runs: dict[float, list[Run]]

    def __str__(self) -> str:
        return self.method if self.rank is None else f"{self.method} rank {self.rank}"


@dataclass(frozen=True)
class RateChoice:
    """The outcomes of a sweep, and the rate that is best by them; None where no rate ran well on every task."""

    sweep: RateSweep
    outcomes: dict[float, list[Outcome]]
    means: dict[float, float]  # of the rates that ran well on every task
    rate: float | None

    @property
    def edge(self) -> bool:
        """True where the chosen rate ends its grid, so that one beyond may be better."""
        return self.rate in (min(self.outcomes), max(self.outcomes))


def report(cfg: DictConfig, model: list[str], compose_train: Compose, train: Train) -> dict[str, Any]:
    """Check, plan, train what is missing, choose, publish; `model` are overrides. Returns the last line."""
    metrics = check(cfg, compose_train)
    sweeps, folder = plan(cfg, model, compose_train), Path(cfg.store) / "tables"
    name, of_all = file_name(cfg.model.name), shared(cfg)
    kept = earlier(folder / f"{name}.csv", cfg.tasks, sweeps, of_all)
    rows = {str(sweep): preset_row(cfg, sweep) for sweep in sweeps} if cfg.write else {}
    runs = [run for sweep in sweeps for at_rate in sweep.runs.values() for run in at_rate]
    records, problems = ensure(runs, Store(cfg.store), cfg.jobs, train if cfg.train else None)
    outcomes = {run.name: outcome(records.get(run.name), run.name in problems) for run in runs}
    lower = not LOWER_IS_BETTER.isdisjoint(metrics.values())
    choices = [choose(sweep, outcomes, lower) for sweep in sweeps]
    files = publish(sheet_of(choices, metrics, kept, name, of_all), folder, ("md", "csv", "json"))
    chosen = [(choice, choice.rate) for choice in choices if choice.rate is not None]
    if cfg.write and chosen:
        new = [rows[str(choice.sweep)] | {"trainer.learning_rate": written(rate)} for choice, rate in chosen]
        files.append(put_rows(cfg.preset, new))
    return {
        "model": cfg.model.name, "runs": len(runs),
        "missing": [name for name, result in outcomes.items() if result is None],
        "failed": [*(name for name, result in outcomes.items() if result == "failed"),
                   *(str(choice.sweep) for choice in choices if choice.rate is None)],
        "chosen": [{"method": choice.sweep.method, "rank": choice.sweep.rank, "learning_rate": rate,
                    "mean": choice.means[rate], "edge": choice.edge} for choice, rate in chosen],
        "files": [str(path) for path in files],
    }


def check(cfg: DictConfig, compose_train: Compose) -> dict[str, str]:
    """The main metric of each task; ValueError for a sweep that cannot be run or compared, before anything runs."""
    check_once("tasks", cfg.tasks)
    named: dict[str, Iterable[str]] = {"method": cfg.rates, "task": cfg.tasks}
    for group, words in named.items():
        for word in words:
            check_file(group, word)
    check_choice("preset", cfg.preset, presets())
    check_once("ranks", cfg.ranks)
    for method, rates in cfg.rates.items():
        check_once(f"rates.{method}", rates)
    if len({len(rates) for rates in cfg.rates.values()}) != 1:
        counts = ", ".join(f"{method} has {len(rates)}" for method, rates in cfg.rates.items())
        raise ValueError(f"one budget for all: each method needs the same number of rates, but {counts or 'none is'}")
    metrics = {task: _main_metric(task, compose_train) for task in cfg.tasks}
    if len({metric in LOWER_IS_BETTER for metric in metrics.values()}) > 1:
        words = ", ".join(f"{task} has {metric}" for task, metric in metrics.items())
        raise ValueError(f"a mean needs metrics of one direction; lower is better of "
                         f"{', '.join(sorted(LOWER_IS_BETTER))} alone, but {words}")
    return metrics


def check_once(name: str, values: Sequence[Any]) -> None:
    """ValueError for a value that is in a list twice."""
    for value in values:
        if list(values).count(value) > 1:
            raise ValueError(f"{name}: {value!r} is there twice")


def _main_metric(task: str, compose_train: Compose) -> str:
    """The metric of the task's score; ValueError where it has no development rows to choose by."""
    config = compose_train([f"task={task}"]).task
    splits = OmegaConf.select(config, "source.rows", default={"development": None})  # the hub's: a tenth of train
    if "evaluate_on" not in config or "development" not in splits:
        raise ValueError(f"task {task!r} has no development rows, which rates are chosen on: "
                         f"it has {', '.join(splits) if 'evaluate_on' in config else 'no evaluate_on'}")
    return str(config.main_metric)


def plan(cfg: DictConfig, model: list[str], compose_train: Compose) -> list[RateSweep]:
    """Every method, and each of its ranks, with a run for each rate, lowest first, and task."""
    sweeps = []
    for method, rates in cfg.rates.items():
        ranked = "rank" in compose_train([f"method={method}"]).method
        for rank in cfg.ranks if ranked else [None]:
            at_rank = [] if rank is None else [f"method.rank={rank}"]
            common = [*model, f"method={method}", f"preset={cfg.preset}", *at_rank, "task.evaluate_on=development",
                      f"seed={cfg.seed}", "trainer.save_adapter=false", f"store={quoted(cfg.store)}"]
            by_task = [_runs([f"task={task}", *common], sorted(rates), compose_train) for task in cfg.tasks]
            at_rate = zip(*by_task, strict=True)
            sweeps.append(RateSweep(str(method), rank, dict(zip(sorted(rates), map(list, at_rate), strict=True))))
    return sweeps


def _runs(overrides: list[str], rates: list[float], compose_train: Compose) -> list[Run]:
    """One run a rate. The config is composed once: composing is slow, and rates differ in one key alone."""
    cfg, runs = compose_train(overrides), []
    for rate in rates:
        cfg.trainer.learning_rate = rate
        runs.append(planned_run(cfg, (*overrides, f"trainer.learning_rate={written(rate)}")))
    return runs


def outcome(record: RunRecord | None, problem: bool) -> Outcome:
    """The score of a run that is done, else why it has none; `problem`: it failed."""
    if record is None:
        return "failed" if problem else None
    return record.score if record.status == "done" else record.status


def choose(sweep: RateSweep, by_run: Mapping[str, Outcome], lower: bool) -> RateChoice:
    """The rate with the best mean, the lowest of equals; `lower`: a lower score is better."""
    outcomes = {rate: [by_run[run.name] for run in runs] for rate, runs in sweep.runs.items()}
    scores = {rate: [value for value in values if isinstance(value, int | float)] for rate, values in outcomes.items()}
    means = {rate: statistics.mean(values) for rate, values in scores.items() if len(values) == len(outcomes[rate])}
    best = (min if lower else max)(means, key=means.__getitem__, default=None)
    return RateChoice(sweep, outcomes, means, best)


def shared(cfg: DictConfig) -> dict[str, Any]:
    """What all runs of a sweep have in common: rows of a table that differ in it are not of one table."""
    return {"seed": cfg.seed, "preset": cfg.preset,
            **{f"model.{key}": plain(value) for key, value in model_identity(cfg.model).items()}}


def earlier(file: Path, tasks: Iterable[str], sweeps: list[RateSweep], of_all: Mapping[str, Any]) -> list[list[Any]]:
    """The rows of a table that are of other sweeps.

    ValueError, before anything runs, if they are of other tasks, or of another model, seed or preset than `of_all`.
    """
    if not file.exists():
        return []
    with file.open(newline="") as stream:
        columns, *rows = csv.reader(stream)
    if (swept := columns[len(LABELS):-2]) != list(tasks):
        raise ValueError(f"{file} is of a sweep over {', '.join(swept)}, not over {', '.join(tasks)}: take another "
                         "store")
    new = {(sweep.method, "" if sweep.rank is None else str(sweep.rank)) for sweep in sweeps}
    kept = [[method, int(rank) if rank else None, rate, *map(_outcome, outcomes), choice]
            for method, rank, rate, *outcomes, choice in rows if (method, rank) not in new]
    before = json.loads(json_file.read_text()) if (json_file := file.with_suffix(".json")).is_file() else {}
    if kept and (changed := [key for key in {**before, **of_all} if before.get(key) != of_all.get(key)]):
        raise ValueError(f"{file} has rows of {kept[0][0]} from a sweep with another {', '.join(changed)}: take "
                         "another store, or remove the file")
    return kept


def _outcome(text: str) -> Outcome:
    """A cell of the table as it was before it was written."""
    try:
        return float(text) if text else None
    except ValueError:
        return text


def sheet_of(choices: list[RateChoice], metrics: Mapping[str, str], kept: list[list[Any]], name: str,
             of_all: Mapping[str, Any]) -> Sheet:
    """A line for each rate, `kept` before; `of_all` is for the next sweep (`earlier`)."""
    common = set(metrics.values())
    of_mean = common.pop() if len(common) == 1 else None
    columns = [*LABELS, *metrics, "mean", "choice"]
    rows = kept + [[choice.sweep.method, choice.sweep.rank, written(rate), *values, choice.means.get(rate),
                    mark(choice, rate)] for choice in choices for rate, values in choice.outcomes.items()]
    of_columns = [*metrics.values(), of_mean]
    shown = [[*row[:3], *(value if isinstance(value, str) else shown_score(metric, value)
                          for metric, value in zip(of_columns, row[3:-1], strict=True)), row[-1]] for row in rows]
    return Sheet(name, "", columns, shown, frame=pd.DataFrame(rows, columns=columns, dtype=object), record=of_all,
                 labels=len(LABELS))


def mark(choice: RateChoice, rate: float) -> str:
    """The last cell of a rate's line."""
    if choice.rate is None:
        return "no choice"
    return "" if rate != choice.rate else "chosen, edge" if choice.edge else "chosen"


def preset_row(cfg: DictConfig, sweep: RateSweep) -> dict[str, str]:
    """The row that the preset gives a sweep, as this model's own; its rate is yet to be put in.

    A rank has a row of its own, unless it is the one that the preset gives to runs without a rank.
    """
    general = find_row(cfg.preset, cfg.model.name, sweep.method, "*")
    key = {"model": cfg.model.name, "method": sweep.method, "task": "*", "source": cfg.store}
    if sweep.rank is None or parse(general.get("method.rank") or "") == sweep.rank:
        row, new = general, key | ({"rank": ""} if "rank" in general else {})
    else:
        rank = str(sweep.rank)
        row = find_row(cfg.preset, cfg.model.name, sweep.method, "*", rank)
        new = key | {"rank": rank, "method.rank": rank}
    if lacks := sorted({*new, "trainer.learning_rate"} - row.keys()):
        raise ValueError(f"preset {cfg.preset!r} has no column {', '.join(lacks)} for the rate of {sweep}")
    return row | new
