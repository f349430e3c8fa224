"""Counting needs no weights: every shape has the paper's size, and the command prints what a method trains."""

import csv
import json
import sys

import pytest

from experiments import count
from experiments.models.load import empty_model
from tests.conftest import ROOT
from tests.experiments.models.made import model_config

NAMES = {"deberta-xxl": "deberta-v2-xxlarge", "gpt3": "gpt3-175b"}


def paper_totals() -> list[tuple[str, int]]:
    with (ROOT / "conf" / "paper" / "parameter_counts.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "ft"]
    return [(NAMES.get(row["model"], row["model"]), int(row["params_exact"])) for row in rows]


@pytest.mark.parametrize(("name", "total"), paper_totals())
def test_a_shape_has_the_papers_size(name: str, total: int):
    kind = "causal_lm" if name.startswith("gpt") else "classification"
    model = empty_model(model_config(name), kind, 2)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert sum(parameter.numel() for parameter in model.parameters()) == total


def test_the_command_counts_what_a_method_trains(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["count", "model=gpt2-medium", "method.rank=4"])
    count.main()
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (record["kind"], record["trainable"]) == ("causal_lm", 24 * 2 * 4 * (1024 + 1024))  # layers, q and v


def test_a_count_has_no_preset(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(sys, "argv", ["count", "model=gpt2", "preset=authors"])
    with pytest.raises(SystemExit) as ended:
        count.main()
    assert ended.value.code == 2
    assert "key 'preset' is not one of" in capsys.readouterr().err
