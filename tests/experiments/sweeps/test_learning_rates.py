"""Every rate that the preset `nano` takes from a sweep is the best of the sweep's records, of development rows."""

import csv
import json
import statistics
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from experiments.config.presets import FOLDER
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
            of_rate, task = found[float(config["trainer"]["learning_rate"])], config["task"]
            assert (task["evaluate_on"], task["name"] in of_rate) == ("development", False), record["run"]
            of_rate[task["name"]] = score
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
    means = {rate: statistics.mean(map(float, scores.values())) for rate, scores in whole.items()}
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


def test_every_method_and_rank_of_a_model_had_the_same_number_of_runs_and_is_in_its_table():
    counted: dict[str, Counter[tuple[str, str, float]]] = defaultdict(Counter)
    store = ROOT / "results" / "nano" / "learning_rates"
    for record in records(store):
        config = record["config"]
        method, rate = config["method"], float(config["trainer"]["learning_rate"])
        counted[config["model"]["name"]][method["name"], str(method.get("rank", "")), rate] += 1
    assert "roberta-nano" in counted
    for model, runs in counted.items():
        settings = Counter((method, rank) for method, rank, _ in runs)
        assert len(set(runs.values())) == 1, (model, runs)      # one for each task
        assert len(set(settings.values())) == 1, (model, settings)  # as many rates
        with (store / "tables" / f"{model}.csv").open(newline="") as file:
            shown = {(row["method"], row["rank"], float(row["learning_rate"])) for row in csv.DictReader(file)}
        assert shown == set(runs)
