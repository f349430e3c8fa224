"""Artifacts of scores over sizes (kind: sizes): each method at each of its sizes, the paper's numbers above ours.

A size is a name and what gives it (`sizes` of the artifact, or of the suite for this artifact). A point is the
aggregate over seeds; how many parameters it has is read from the runs' records, without the task head.
"""

import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from analysis.adapters.updates import Problem
from analysis.figures.scores import Point, Scores, sizes_figure
from analysis.studies.study import Study
from experiments.artifacts.artifact import Data, check_filters, check_suite, read_rows, suite_for
from experiments.artifacts.collect import Collected, cell_of, collect
from experiments.artifacts.plan import Slot, stand_ins
from experiments.config.compose import Compose, plain_dict, run_config
from experiments.sweeps.workers import Train
from experiments.tables.publish import publish_study
from experiments.tables.table import AGGREGATES
from lora.errors import check_choice

log = logging.getLogger(__name__)
UNITS = {"K": 1e3, "M": 1e6, "B": 1e9}


def report(cfg: DictConfig, compose_train: Compose, train: Train) -> dict[str, Any]:
    """Plan the sizes, train what is missing, read the store, draw; returns the last line."""
    artifact, suite = plain_dict(cfg.artifact), suite_for(plain_dict(cfg.suite), cfg.artifact.name)
    check_suite(suite)
    check_filters(cfg, suite)
    check_choice("aggregate", artifact["aggregate"], AGGREGATES)
    printed = read_rows(artifact["paper"])
    for column in ("method", "hyperparameters", "params_printed", *artifact["columns"]):
        check_choice(f"column of {artifact['paper']}.csv", column, printed[0])
    rows = sizes_of(artifact, suite)
    found = collect(cfg, artifact, suite, rows, compose_train, train)
    last = {"artifact": artifact["name"], "suite": suite["name"],
            "missing": found.missing,
            "failed": list(found.problems), "unavailable": dict(found.unavailable)}
    table = points(artifact, rows, found)
    if table.empty:
        log.warning(why := nothing(artifact, suite, found, cfg.store))
        return last | {"files": [], "notes": [why]}
    notes = [*stand_ins(found.slots), *(f"{name} is not there: {why}" for name, why in found.unavailable.items()),
             f"ours: {artifact['aggregate']} over seeds of each run's best epoch, spread: standard deviation over "
             f"seeds, from {cfg.store}; parameters without the task head"]
    caption = (f"{artifact['title']}. Above as printed (Table 15), below {', '.join(dict.fromkeys(table.model))}: "
               f"{artifact['aggregate']} over up to {table.seeds.max()} seeds, whiskers: standard deviation. "
               "Lines join sizes of the same targets. Parameters without the task head.")
    figure = sizes_figure([of_paper(artifact, printed), of_ours(table)], caption)
    problems = [Problem(name, f"failed: {why}") for name, why in found.problems.items()]
    study = Study(artifact["name"], artifact["title"], {artifact["name"]: table}, {}, {artifact["name"]: figure},
                  notes, problems)
    return last | publish_study(study, Path(cfg.store) / "figures", cfg.logger, run_config(cfg), {}, cfg.caption)


def nothing(artifact: Data, suite: Data, found: Collected, store: str) -> str:
    """Why there is nothing to draw."""
    if found.slots:
        return f"{artifact['name']}: no run of suite {suite['name']} in {store} has a score"
    needed = {artifact["run"]["model"]: "models"} | {own["task"]: "tasks" for own in artifact["columns"].values()}
    lacks = [word for word, group in needed.items() if word not in suite[group]]
    return f"{artifact['name']}: in suite {suite['name']} nothing stands for {', '.join(lacks) or 'its methods'}"


def sizes_of(artifact: Data, suite: Data) -> list[dict[str, str]]:
    """A row for each method of the suite and each of its sizes: the suite's where it has some, else the artifact's."""
    sizes = artifact["sizes"] | suite["sizes"]
    return [{"method": method, "size": size} for method in sizes if method in suite["methods"]
            for size in sizes[method]]


def points(artifact: Data, rows: list[dict[str, str]], found: Collected) -> pd.DataFrame:
    """One line for each task, method and size that has a score: parameters, score, spread, seeds, collapsed runs."""
    lines = [_line(artifact, rows[slot.row], slot, found) for slot in found.slots]
    return pd.DataFrame([line for line in lines if line is not None])


def _line(artifact: Data, row: Mapping[str, str], slot: Slot, found: Collected) -> dict[str, Any] | None:
    cell, records = cell_of("", "", slot, found.records), [found.records[run.name] for run in slot.runs
                                                         if run.name in found.records]
    score = cell.ours(artifact["aggregate"])
    if score is None:
        return None
    sizes = {record.trainable for record in records}
    if len(sizes) != 1:
        raise ValueError(f"runs of {row['method']} {row['size']} have {sorted(map(str, sizes))} trainable parameters")
    return {"model": slot.ours["model"], "task": slot.ours["task"], "method": row["method"], "size": row["size"],
            "targets": ",".join(records[0].config.get("method", {}).get("targets", [])),
            "parameters": sizes.pop(), "metric": records[0].summary()["main_metric"], "score": score,
            "spread": cell.spread, "seeds": len(cell.values), "collapsed": cell.collapsed}


def of_ours(table: pd.DataFrame) -> list[Scores]:
    """A panel for each task of ours."""
    return [Scores(f"{model} on {task}", str(frame.metric.iloc[0]),
                   {str(method): _points(own) for method, own in frame.groupby("method", sort=False)})
            for (model, task), frame in table.groupby(["model", "task"], sort=False)]


def _points(table: pd.DataFrame) -> list[Point]:
    values = table[["parameters", "score", "spread"]].astype(float).to_numpy().tolist()
    return [Point(parameters, score, None if math.isnan(spread) else spread, targets)
            for (parameters, score, spread), targets in zip(values, table.targets, strict=True)]


def of_paper(artifact: Data, printed: list[dict[str, str]]) -> list[Scores]:
    """A panel for each column of the paper's table."""
    methods = dict.fromkeys(row["method"] for row in printed)
    return [Scores(f"the paper's {artifact['run']['model']} on {own['task']}", "accuracy", {
        method: [Point(_number(row["params_printed"]), float(row[column]), targets=_targets(row["hyperparameters"]))
                 for row in printed if row["method"] == method and row[column]]
        for method in methods}) for column, own in artifact["columns"].items()]


def _targets(hyperparameters: str) -> str:
    """q,v of r_q=r_v=8, '' where no rank is among a row's hyperparameters."""
    return ",".join(re.findall(r"r_([qkvo])=", hyperparameters))


def _number(printed: str) -> float:
    """175B as a number."""
    match = re.fullmatch(r"([\d.]+)([KMB]?)", printed)
    if match is None:
        raise ValueError(f"{printed!r} is not a number of parameters, as 4.7M")
    return float(match[1]) * UNITS.get(match[2], 1)
