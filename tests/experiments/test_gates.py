"""A nano model ships only where fine-tuning from it beats fine-tuning from random weights, in enough tasks."""

from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from experiments import gates
from experiments.pretrained import Gate
from experiments.tasks.world import surface

CFG = OmegaConf.create({"model": {"name": "roberta-nano"}})


def fake(monkeypatch: pytest.MonkeyPatch, score: Any, seconds: float = 20.0) -> None:
    """Records whose score is `score(task, method, init)`."""

    def finished(cfg: Any, tasks: tuple[str, ...], methods: tuple[str, ...]) -> dict[Any, Any]:
        keys = [(task, method, init) for task in tasks for method in methods for init in ("pretrained", "random")]
        return {key: SimpleNamespace(score=score(*key), seconds=seconds) for key in keys}

    monkeypatch.setattr(gates, "finished", finished)
    monkeypatch.setattr(surface, "bag_of_words", lambda task: {task.main_metric: 55.0})
    monkeypatch.setattr(gates, "chance", lambda task: 50.0)


def named(found: list[Gate]) -> dict[str, Gate]:
    return {gate.name: gate for gate in found}


@pytest.mark.parametrize(("gaining", "passes"), [(6, True), (5, False)])
def test_six_of_eight_tasks_must_gain(monkeypatch: pytest.MonkeyPatch, gaining: int, passes: bool) -> None:
    gain = {"ft": 10, "lora": 15}

    def score(task: str, method: str, init: str) -> float:
        gains = gates.GLUE.index(task) < gaining
        return 60 + (gain[method] - (not gains)) * (init == "pretrained")

    fake(monkeypatch, score)
    found = named(gates.understanding(CFG))
    assert found["tasks where ft gains 10 points"].passed == passes
    assert found["tasks where lora gains 15 points"].passed == passes
    assert found["tasks where lora gains 15 points"].value == gaining


@pytest.mark.parametrize(("score", "passes"), [(49.0, False), (50.0, True), (99.0, True), (99.5, False)])
def test_full_fine_tuning_is_above_chance_and_below_99(
    monkeypatch: pytest.MonkeyPatch, score: float, passes: bool
) -> None:
    fake(monkeypatch, lambda task, method, init: score)
    assert named(gates.understanding(CFG))["rte: ft"].passed == passes


@pytest.mark.parametrize(("loss", "passes"), [(0.8, True), (0.81, False)])
def test_the_loss_on_target_tokens_must_be_a_fifth_lower(
    monkeypatch: pytest.MonkeyPatch, loss: float, passes: bool
) -> None:
    fake(monkeypatch, lambda task, method, init: loss if init == "pretrained" else 1.0)
    found = named(gates.generation(CFG))
    assert {found[f"{task}: ratio"].passed for task in ("e2e", "webnlg", "samsum")} == {passes}


@pytest.mark.parametrize(("seconds", "passes"), [(40.0, True), (41.0, False)])
def test_a_run_takes_40_seconds_at_most(monkeypatch: pytest.MonkeyPatch, seconds: float, passes: bool) -> None:
    fake(monkeypatch, lambda task, method, init: 1.0, seconds)
    assert named(gates.generation(CFG))["slowest run, seconds"].passed == passes


def test_chance_is_the_share_of_the_most_frequent_answer() -> None:
    rows = {"a": [0, 1, 1, 1], "b": [0, 0, 1, 1]}

    class Split(dict[str, list[int]]):
        def __len__(self) -> int:
            return 4

    task: Any = SimpleNamespace(main_metric="accuracy", label="label", evaluation_splits=["a", "b"],
                                split=lambda split: Split(label=rows[split]))
    assert gates.chance(task) == 100 * (0.75 + 0.5) / 2
    assert gates.chance(SimpleNamespace(main_metric="matthews")) == 0
