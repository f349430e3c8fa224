"""What a run says at its end: a line for people, a short record for programs, a warning where it collapsed."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.runs.ending import brief, tell, told
from experiments.store.store import RunRecord, Store

RECORD = RunRecord(
    run="rte-tiny-lora-r8-qv-seed0-0a1b2c3d", identity="0a1b2c3d" + "0" * 56, status="done", seed=0, best_epoch=2,
    config={"task": {"main_metric": "accuracy"}, "trainer": {"learning_rate": 2e-3}}, score=94.39999999999999,
    metrics={"accuracy": 94.39999999999999}, history=[{}, {}, {}], trainable=8192, head=258, seconds=12.345,
    adapter="adapters/rte-tiny-lora-r8-qv-seed0-0a1b2c3d")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    store.write(RECORD)
    (tmp_path / str(RECORD.adapter)).mkdir(parents=True)
    return store


def test_one_line_says_score_epoch_parameters_and_places(store: Store) -> None:
    assert told(RECORD, store) == (
        f"{RECORD.run}: accuracy 94.40 (epoch 2 of 3), 8,192 parameters and a head of 258 trained in 12 s, "
        f"kept in {store.root}/runs/{RECORD.run}.json, adapter in {store.root}/adapters/{RECORD.run}")


def test_the_record_for_programs_is_short_and_rounded(store: Store) -> None:
    assert brief(RECORD, store) == {
        "run": RECORD.run, "status": "done", "main_metric": "accuracy", "score": 94.4, "metrics": {"accuracy": 94.4},
        "best_epoch": 2, "trainable": 8192, "head": 258, "seconds": 12.3,
        "record": f"{store.root}/runs/{RECORD.run}.json", "adapter": f"adapters/{RECORD.run}"}


@pytest.mark.parametrize(("status", "warned"), [("done", False), ("collapsed", True)])
def test_a_collapse_is_a_warning_with_its_rate_and_a_hint(
    store: Store, caplog: pytest.LogCaptureFixture, status: str, warned: bool
) -> None:
    caplog.set_level(logging.INFO)
    tell(replace(RECORD, status=status), store)
    warnings = [line.getMessage() for line in caplog.records if line.levelno == logging.WARNING]
    assert len(warnings) == warned
    assert all("trainer.learning_rate=0.002" in line and "lower the rate" in line for line in warnings)
