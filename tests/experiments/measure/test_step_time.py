"""The variants of a training step train the same matrices, and each is timed and measured."""

import sys

import pytest
import torch
from omegaconf import DictConfig

from experiments.measure import step_time
from tests.experiments.made import compose

TINY = ["model.config.hidden_size=16", "model.config.num_hidden_layers=2", "model.config.num_attention_heads=2",
        "model.config.intermediate_size=32", "model.config.vocab_size=50", "batch_size=2", "length=4", "threads=1"]


def config(*words: str) -> DictConfig:
    return compose("benchmark=step", *TINY, *words, config="benchmark")


def trained(variant: str, cfg: DictConfig) -> int:
    torch.manual_seed(0)
    model = step_time.load_model(cfg.model, "classification", 2, ["0", "1"])
    step_time.VARIANTS[variant](model, cfg)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_the_lora_variants_train_the_same_numbers() -> None:
    pytest.importorskip("peft")
    pytest.importorskip("loralib")
    updates, head = 2 * 2 * (8 * 16 + 16 * 8), 16 * 16 + 16 + 2 * 16 + 2
    cfg = config()
    assert {variant: trained(variant, cfg) for variant in ("ours", "peft", "loralib", "frozen")} == {
        "ours": updates + head, "peft": updates + head, "loralib": updates + head, "frozen": 0}


def test_every_variant_is_timed_and_compared_with_what_was_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_time, "in_fresh_process", lambda function, *args: function(*args))
    record = step_time.step_benchmark(config("rounds=2", "memory_steps=1", "variants=[ours,ft,frozen]"))
    assert list(record.variants) == ["ours", "ft", "frozen"]
    for row in record.variants.values():
        assert row["seconds"] > 0
        assert row["over_peft"] is None  # was not run
        assert row["peak_memory_mb"] > row["step_memory_mb"] >= 0
    assert record.variants["frozen"]["over_frozen"] == 1
    assert (record.settings["rank"], record.settings["targets"], record.threads) == (8, ["q", "v"], 1)


@pytest.mark.parametrize(("overrides", "missing", "message"), [
    (["variants=[loralib]", "method.rank_stabilised=true"], [], "loralib has no method.rank_stabilised"),
    (["variants=[our]"], [], "variant 'our' is not one of .*; did you mean 'ours'"),
    (["variants=[peft]"], ["peft"], r"needs the package peft, .*pip install"),
])
def test_what_cannot_be_measured_is_refused(overrides: list[str], missing: list[str], message: str,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_time, "in_fresh_process", lambda function, *args: function(*args))
    for package in missing:
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises((ValueError, ImportError), match=message):
        step_time.step_benchmark(config(*overrides))
