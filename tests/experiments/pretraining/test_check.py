"""What the check of a shipped model prints, and when."""

import logging
from pathlib import Path

import pytest

from experiments.pretraining import train as pretraining
from experiments.pretraining.check import check_shipped
from experiments.pretraining.gates import Gate
from tests.experiments.pretraining.made import config, source

HERE = __name__


def failing(cfg: object) -> list[Gate]:
    raise RuntimeError("a gate that cannot be measured")


def unmeasured(cfg: object) -> list[Gate]:
    return [Gate("rte: ft", float("nan"))]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a model of a few steps was put."""
    output = tmp_path_factory.mktemp("pretrained")
    pretraining.run(config(output, tokens=200, evaluate_every=1000), source())
    return output


def test_the_probes_are_logged_before_fine_tuning_starts(trained: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    cfg = config(trained, gates=[f"{HERE}.failing"])
    cfg.model.path = str(trained / "roberta-nano")
    with pytest.raises(RuntimeError, match="cannot be measured"):
        check_shipped(cfg, source())
    assert "polarity" in caplog.text


def test_what_was_not_measured_counts_as_failed(trained: Path):
    def failed(*gates: str) -> int:
        cfg = config(trained, gates=list(gates))
        cfg.model.path = str(trained / "roberta-nano")
        return int(check_shipped(cfg, source())["failed"])

    assert failed(f"{HERE}.unmeasured") == failed() + 1
    lines = (trained / "gates" / "tables" / "roberta-nano-part.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in lines[4:-2]] == [
        "| class", "| polarity", "| rebuilt held-out loss / shipped"]


@pytest.mark.parametrize("present", ["nothing", "another config"])
def test_only_a_rebuild_is_compared_and_its_absence_is_said(
    present: str, trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    if present == "another config":
        pretraining.run(config(tmp_path, tokens=200, evaluate_every=1000, learning_rate=2e-2), source())
    cfg = config(tmp_path, gates=[])
    cfg.model.path = str(trained / "roberta-nano")
    found = check_shipped(cfg, source())
    assert not [gate for gate in found["gates"] if "rebuilt" in gate["name"]]
    assert f"no model of this config and corpus in {tmp_path / 'roberta-nano'}" in caplog.text
    cfg.output = str(trained)
    assert [gate for gate in check_shipped(cfg, source())["gates"] if "rebuilt" in gate["name"]]
