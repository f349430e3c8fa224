"""Every rate in a preset that names a sweep as its source is the best of the sweep's records."""

import csv
import json
import statistics
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from experiments.presets import FOLDER
from tests.conftest import ROOT

SWEPT = "results/"  # how the source of a swept row begins


def swept_rows() -> list[tuple[str, dict[str, str]]]:
    """(preset, row) of every row whose source is a sweep of this repository."""
    found = []
    for path in sorted(FOLDER.glob("*.csv")):
        with path.open(newline="") as file:
            found += [(path.stem, row) for row in csv.DictReader(file) if row["source"].startswith(SWEPT)]
    return found


@cache
def records(store: Path) -> list[dict[str, Any]]:
    """The records of a store."""
    return [json.loads(path.read_text()) for path in sorted((store / "runs").glob("*.json"))]


def outcomes(store: Path, model: str, method: str, rank: str) -> dict[float, dict[str, float | None]]:
    """By learning rate, the score of each task; None where the run did not end well."""
    found: dict[float, dict[str, float | None]] = defaultdict(dict)
    for record in records(store):
        config = record["config"]
        own = config["method"]
        if (config["model"]["name"], own["name"]) == (model, method) and str(own.get("rank", "")) == rank:
            score = record["score"] if record["status"] == "done" else None
            found[float(config["trainer"]["learning_rate"])][config["task"]["name"]] = score
    return found


@pytest.mark.parametrize(("preset", "row"), [
    pytest.param(preset, row, id=f"{preset}-{row['model']}-{row['method']}-{row.get('method.rank')}")
    for preset, row in swept_rows() if row["source"].startswith("results/nano")
])
def test_the_rate_of_a_swept_row_is_the_best_of_its_records(preset: str, row: dict[str, str]):
    found = outcomes(ROOT / row["source"], row["model"], row["method"], row["method.rank"])
    tasks = {task for scores in found.values() for task in scores}
    whole = {rate: scores for rate, scores in found.items() if scores.keys() == tasks and None not in scores.values()}
    metrics = {record["config"]["task"]["main_metric"] for record in records(ROOT / row["source"])
               if record["config"]["task"]["name"] in tasks}
    means = {rate: statistics.mean(filter(None, scores.values())) for rate, scores in whole.items()}
    assert len(found) >= 4
    assert float(row["trainer.learning_rate"]) == (min if metrics == {"loss"} else max)(means, key=means.__getitem__)


@pytest.mark.parametrize("path", sorted((ROOT / "results" / "nano").glob("learning_rates*/tables/*.csv")),
                         ids=lambda path: path.stem)
def test_a_sweeps_table_is_that_of_its_records(path: Path):
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    labels = ("method", "rank", "learning_rate", "mean", "choice")
    for row in rows:
        found = outcomes(path.parent.parent, path.stem, row["method"], row["rank"])[float(row["learning_rate"])]
        for task, printed in row.items():
            if task not in labels:
                score = found[task]
                assert printed == "collapsed" if score is None else float(printed) == score, (row, task)
    assert len({row["choice"] for row in rows} - {""}) >= 1


def test_every_method_of_a_sweep_had_the_same_number_of_runs():
    for path in sorted((ROOT / "results" / "nano").glob("learning_rates*/tables/*.csv")):
        with path.open(newline="") as file:
            counted = defaultdict(int)
            for row in csv.DictReader(file):
                counted[row["method"], row["rank"]] += 1
        assert len(set(counted.values())) == 1, (path, dict(counted))
