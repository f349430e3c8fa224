"""Costs of section 4.2, from the arithmetic of a tiny model."""

import json
from pathlib import Path

import pytest

from experiments.artifacts.kinds import costs
from experiments.config.compose import train_configs
from tests.experiments.artifacts.made import no_training
from tests.experiments.made import compose


def test_claims_are_the_papers_arithmetic(tmp_path: Path) -> None:
    tiny = "model: gpt2, " + ", ".join(f"model.config.{key}" for key in (
        "n_embd: 16", "n_layer: 2", "n_head: 2", "vocab_size: 50"))
    cfg = compose("artifact=costs", f"+artifact.run={{{tiny}}}", "artifact.length=4", f"store={tmp_path}",
                  config="paper")
    with train_configs() as compose_train:
        record = costs.report(cfg, compose_train, no_training)
    ours = {row["key"]: row["ours"] for row in record["claims"]}
    d, layers, length, vocabulary, rank = 16, 2, 4, 50, 4
    base = 50 * d + 1024 * d + layers * (12 * d * d + 13 * d) + 2 * d
    assert ours["checkpoint_ft"] == pytest.approx(2 * base / 1e9)
    assert ours["checkpoint_lora"] == pytest.approx(2 * layers * 2 * rank * 2 * d / 1e6)
    assert ours["memory_ft_gradients"] == pytest.approx(4 * ours["checkpoint_ft"] / 1e3)
    forward = 2 * (layers * (12 * d * d + 2 * length * d) + vocabulary * d)  # a token
    updates = 2 * layers * 2 * 2 * rank * d
    frozen = 2 * (layers * 12 * d * d + vocabulary * d)  # a gradient of each frozen weight, which LoRA has not
    below = 2 * 3 * d * d + 2 * 2 * rank * d  # of the first block's input, which nothing trained comes before
    lora = 3 * forward + 3 * updates - frozen - below
    assert ours["time_saved_plain"] == pytest.approx(100 * (1 - lora / (3 * forward)))
    assert {row["key"] for row in json.loads((tmp_path / "tables" / "costs.json").read_text())["claims"]} == set(ours)
