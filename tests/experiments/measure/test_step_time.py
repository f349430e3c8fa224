"""The benchmark compares like with like, and its command leaves a record."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from experiments import benchmark
from experiments.measure import step_time
from tests.conftest import ROOT

TINY = ["model.config.hidden_size=16", "model.config.num_hidden_layers=2", "model.config.num_attention_heads=2",
        "model.config.intermediate_size=32", "model.config.vocab_size=50", "batch_size=2", "length=4", "threads=1"]


def config(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        return compose("benchmark", overrides=[*TINY, *overrides])


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


def test_each_round_times_each_variant_once() -> None:
    seconds = step_time.step_seconds(config("variants=[ours,ft,frozen]", "rounds=2"))
    assert {variant: len(times) for variant, times in seconds.items()} == {"ours": 2, "ft": 2, "frozen": 2}
    assert all(second > 0 for times in seconds.values() for second in times)


def test_a_ratio_is_taken_within_each_round() -> None:
    seconds = {"ours": [1.0, 20.0, 3.0], "peft": [1.0, 10.0, 1.0]}
    assert step_time._ratio(seconds, "ours", "peft") == 2.0
    assert step_time._ratio(seconds, "ours", "frozen") is None


def test_the_command_writes_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(benchmark, "in_fresh_process", lambda function, *args: function(*args))
    output = tmp_path / "new" / "benchmark.json"
    argv = ["benchmark", *TINY, "rounds=1", "memory_steps=1", "variants=[ours,frozen]", f"output={output}"]
    monkeypatch.setattr(sys, "argv", argv)
    benchmark.main()
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert record == json.loads(output.read_text())
    assert set(record["variants"]["ours"]) == {
        "seconds", "over_peft", "over_frozen", "peak_memory_mb", "step_memory_mb"}


@pytest.mark.parametrize(("overrides", "missing", "message"), [
    (["variants=[loralib]", "method.rank_stabilised=true"], [], "loralib has no method.rank_stabilised"),
    (["variants=[our]"], [], "variant 'our' is not one of .*; did you mean 'ours'"),
    (["variants=[peft]"], ["peft"], r"needs the package peft, .*pip install"),
])
def test_what_cannot_be_measured_is_said_first(overrides: list[str], missing: list[str], message: str,
                                               monkeypatch: pytest.MonkeyPatch,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    for package in missing:
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(sys, "argv", ["benchmark", *TINY, *overrides])
    with pytest.raises(SystemExit):
        benchmark.main()
    assert re.search(message, capsys.readouterr().err)
