"""Artifacts of scores over sizes (kind: sizes): each method at each of its sizes, the paper's numbers above ours.

A size is a name and what gives it (`sizes` of the artifact, or of the suite for this artifact). A point is the
aggregate over seeds; how many parameters it has is read from the runs' records, without the task head.
"""

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from analysis.adapters.updates import Problem
from analysis.figures.scores import Point, Scores, sizes_figure
from analysis.studies.study import Study
from experiments.artifacts.artifact import Artifact, PrintedRow, read_artifact, read_rows
from experiments.artifacts.collect import Collected, cell_of, collect
from experiments.artifacts.plan import Grid, PlannedCell, stand_ins
from experiments.artifacts.suite import Suite, read_suite
from experiments.config.compose import ManyConfigs, run_config
from experiments.sweeps.workers import Train
from experiments.tables.names import display_name
from experiments.tables.publish_study import publish_study
from experiments.tables.table import AGGREGATES
from lora.errors import check_choice

log = logging.getLogger(__name__)
UNITS = {"K": 1e3, "M": 1e6, "B": 1e9}


@dataclass(frozen=True)
class SizesArtifact(Artifact):
    """A figure of scores over sizes: the paper's numbers, the runs, and the sizes of each method."""

    paper: str              # a CSV in conf/paper
    aggregate: str          # over seeds
    shows: str              # score, or metrics.<key>
    run: dict[str, Any]
    columns: dict[str, dict[str, Any]]
    sizes: dict[str, Any]   # method -> the name of a size -> config keys

    def grid(self) -> Grid:
        """Its runs: a row for each method and size."""
        return Grid(self.run, self.columns, self.shows, params="size", sizes=self.sizes)

    def printed(self) -> list[dict[str, str]]:
        """The CSV's rows; ValueError for an unknown file or aggregate, or a column that the CSV lacks."""
        check_choice("aggregate", self.aggregate, AGGREGATES)
        printed = read_rows(self.paper)
        for column in ("method", "hyperparameters", "params_printed", *self.columns):
            check_choice(f"column of {self.paper}.csv", column, printed[0])
        return printed


def report(cfg: DictConfig, compose_train: ManyConfigs, train: Train) -> dict[str, Any]:
    """Plan the sizes, train what is missing, read the store, draw; returns the last line."""
    artifact, suite = read_artifact(SizesArtifact, cfg), read_suite(cfg, cfg.artifact.name)
    suite.check_filters(cfg)
    printed, rows = artifact.printed(), sizes_of(artifact, suite)
    collected = collect(cfg, artifact.grid(), suite, rows, compose_train, train)
    last = {"artifact": artifact.name, "suite": suite.name, "missing": collected.missing,
            "failed": list(collected.problems), "unavailable": dict(collected.unavailable)}
    table = points(artifact, rows, collected)
    if table.empty:
        log.warning(why := nothing(artifact, suite, collected, cfg.store))
        return last | {"files": [], "notes": [why]}
    problems = [Problem(name, f"failed: {why}") for name, why in collected.problems.items()]
    caption = (f"{artifact.title}. Above as printed (Table 15), below "
               f"{', '.join(map(display_name, dict.fromkeys(table.model)))}: "
               f"{artifact.aggregate} over up to {table.seeds.max()} seeds, whiskers: standard deviation. "
               "Lines join sizes of the same targets. Parameters without the task head.")
    study = Study(artifact.name, artifact.title, {artifact.name: table}, {},
                  {artifact.name: sizes_figure([of_paper(artifact, printed), of_ours(table)], caption)},
                  _notes(artifact, collected, cfg.store), problems)
    return last | publish_study(study, Path(cfg.store) / "figures", cfg.logger, run_config(cfg), {}, cfg.caption)


def _notes(artifact: SizesArtifact, collected: Collected, store: str) -> list[str]:
    """Stand-ins, models that are not there, and how numbers were made."""
    return [*stand_ins(collected.cells),
            *(f"{name} is not there: {why}" for name, why in collected.unavailable.items()),
            f"ours: {artifact.aggregate} over seeds of each run's best epoch, spread: standard deviation over "
            f"seeds, from {store}; parameters without the task head", *collected.missing_note()]


def nothing(artifact: SizesArtifact, suite: Suite, collected: Collected, store: str) -> str:
    """Why there is nothing to draw."""
    if collected.cells:
        return f"{artifact.name}: no run of suite {suite.name} in {store} has a score"
    lacks = [] if artifact.run["model"] in suite.models else [artifact.run["model"]]
    lacks += [keys["task"] for keys in artifact.columns.values() if keys["task"] not in suite.tasks]
    return f"{artifact.name}: in suite {suite.name} nothing stands for {', '.join(lacks) or 'its methods'}"


def sizes_of(artifact: SizesArtifact, suite: Suite) -> list[dict[str, str]]:
    """A row for each method of the suite and each of its sizes: the suite's where it has some, else the artifact's."""
    sizes = artifact.sizes | suite.changes.sizes
    return [{"method": method, "size": size} for method in sizes if method in suite.methods
            for size in sizes[method]]


def points(artifact: SizesArtifact, rows: Sequence[PrintedRow], collected: Collected) -> pd.DataFrame:
    """One line for each task, method and size that has a score: parameters, score, spread, seeds, collapsed runs."""
    lines = [_line(artifact, rows[cell.row], cell, collected) for cell in collected.cells]
    return pd.DataFrame([line for line in lines if line is not None])


def _line(artifact: SizesArtifact, row: PrintedRow, planned: PlannedCell,
          collected: Collected) -> dict[str, Any] | None:
    cell = cell_of("", "", planned, collected.records)
    records = [collected.records[run.name] for run in planned.runs if run.name in collected.records]
    score = cell.ours(artifact.aggregate)
    if score is None:
        return None
    sizes = {record.trainable for record in records}
    if len(sizes) != 1:
        raise ValueError(f"runs of {row['method']} {row['size']} have {sorted(map(str, sizes))} trainable parameters")
    return {"model": planned.ours["model"], "task": planned.ours["task"], "method": row["method"], "size": row["size"],
            "targets": ",".join(records[0].config.get("method", {}).get("targets", [])),
            "parameters": sizes.pop(), "metric": records[0].summary()["main_metric"], "score": score,
            "spread": cell.spread, "seeds": len(cell.values), "collapsed": cell.collapsed}


def of_ours(table: pd.DataFrame) -> list[Scores]:
    """A panel for each task of ours."""
    return [Scores(f"{display_name(str(model))} on {display_name(str(task))}", str(of_task.metric.iloc[0]),
                   {display_name(str(method)): _points(of_method)
                    for method, of_method in of_task.groupby("method", sort=False)})
            for (model, task), of_task in table.groupby(["model", "task"], sort=False)]


def _points(table: pd.DataFrame) -> list[Point]:
    values = table[["parameters", "score", "spread"]].astype(float).to_numpy().tolist()
    return [Point(parameters, score, None if math.isnan(spread) else spread, targets)
            for (parameters, score, spread), targets in zip(values, table.targets, strict=True)]


def of_paper(artifact: SizesArtifact, printed: list[dict[str, str]]) -> list[Scores]:
    """A panel for each column of the paper's table."""
    methods = dict.fromkeys(row["method"] for row in printed)
    model = display_name(artifact.run["model"])
    return [Scores(f"the paper's {model} on {display_name(keys['task'])}", "accuracy", {
        display_name(method): [
            Point(_number(row["params_printed"]), float(row[column]), targets=_targets(row["hyperparameters"]))
            for row in printed if row["method"] == method and row[column]]
        for method in methods}) for column, keys in artifact.columns.items()]


def _targets(hyperparameters: str) -> str:
    """q,v of r_q=r_v=8, '' where no rank is among a row's hyperparameters."""
    return ",".join(re.findall(r"r_([qkvo])=", hyperparameters))


def _number(printed: str) -> float:
    """175B as a number."""
    match = re.fullmatch(r"([\d.]+)([KMB]?)", printed)
    if match is None:
        raise ValueError(f"{printed!r} is not a number of parameters, as 4.7M")
    return float(match[1]) * UNITS.get(match[2], 1)
