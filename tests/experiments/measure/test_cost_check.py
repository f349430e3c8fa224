"""The commands on cost: what they print, what section 4.2 printed, and what they refuse."""

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from experiments import benchmark, cost
from experiments.measure import cost_check
from experiments.measure.cost import storage
from experiments.measure.record import read_benchmark
from experiments.measure.shadow import StepCost, Work, shadow
from experiments.measure.sheets import benchmark_sheet
from experiments.store.paths import CONF
from experiments.tables.publish import sheet_markdown
from tests.experiments.made import compose

TINY = [f"model.config.{key}" for key in ("n_embd=16", "n_layer=2", "n_head=2", "vocab_size=50")]


def run(module: Any, name: str, words: list[str], monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    monkeypatch.setattr(sys, "argv", [name, *words])
    module.main()
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_command_gives_bytes_flops_and_adaptations(monkeypatch: pytest.MonkeyPatch,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    words = ["model=gpt2", *TINY, "method.rank=4", "batch_size=2", "length=8", "adaptations=10", "space_gb=0.001"]
    record = run(cost, "cost", words, monkeypatch, capsys)
    base = 50 * 16 + 1024 * 16 + 2 * (12 * 16**2 + 13 * 16) + 2 * 16  # embeddings, blocks, last norm
    own = 2 * 2 * 4 * (16 + 16)
    assert (record["total"], record["trainable"], record["head"]) == (base + own, own, 0)
    assert (record["gradient_bytes"], record["adapter_bytes_fp16"]) == (4 * own, 2 * own)
    assert (record["base_bytes"], record["adaptations_bytes"]) == (2 * base, 2 * base + 10 * 2 * own)
    assert (record["device"], record["checkpointing"]) == ("cuda", False)
    assert record["adaptations_that_fit"] == (1_000_000 - 2 * base) // (2 * own)
    assert record["forward_flops_per_token"] == 2 * (2 * (12 * 16**2 + 2 * 8 * 16) + 50 * 16 + own)


@pytest.mark.parametrize(("method", "width"), [("lora", 4), ("adapter_h", 4), ("prefix_layer", 4), ("bitfit", 2)])
def test_in_half_precision_what_a_method_adds_stays_in_four_bytes(
    method: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["model=gpt2", *TINY, f"method={method}", "precision=fp16", "length=8"]
    words += ["method.bottleneck=4"] if method == "adapter_h" else []
    monkeypatch.setattr(sys, "argv", ["cost", *words])
    cost.main()
    out = capsys.readouterr().out
    record = json.loads(out.splitlines()[-1])
    assert record["gradient_bytes"] == width * record["trainable"]
    assert re.search(r"checkpointing\W+false", out)


def test_full_fine_tuning_shares_nothing_between_adaptations() -> None:
    assert storage(0, 500, 2, 100, 0.00001) == {
        "base_bytes": 0, "adaptation_bytes": 1000, "adaptations": 100, "adaptations_bytes": 100_000,
        "adaptations_that_fit": 10}


def test_a_store_smaller_than_the_base_holds_no_adaptation() -> None:
    assert storage(10_000, 5, 2, 1, 0.00001)["adaptations_that_fit"] == 0


def test_of_adaptations_without_a_parameter_any_number_fits(monkeypatch: pytest.MonkeyPatch,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    words = ["model=gpt2", *TINY, "method=prefix_embed", "method.l_p=0", "method.l_i=0", "length=8"]
    record = run(cost, "cost", words, monkeypatch, capsys)
    assert (record["adaptation_bytes"], record["adaptations_that_fit"]) == (0, None)


def test_a_prediction_is_work_over_the_three_speeds() -> None:
    found = StepCost(0, 0, 0, 0, 0, Work(100, 10), Work(200, 20), Work(0, 30))
    speeds = {"product": 50.0, "rest": 20.0, "update": 60.0}
    assert cost_check.predicted_seconds(found, speeds) == 300 / 50 + 30 / 20 + 30 / 60


def test_the_speed_of_an_update_is_of_bytes_counted_as_a_steps_are() -> None:
    """A step that trains as many numbers moves as many bytes in its update."""
    with FakeTensorMode():
        whole = nn.Linear(cost_check.UPDATED // 8, 8, bias=False)
        x = torch.randn(1, whole.in_features)
        step = shadow(whole, torch.optim.AdamW(whole.parameters(), fused=True), lambda: whole(x).sum())
    assert cost_check.probe(cost_check.update_step)[1] == step.update.moved_bytes


def test_a_row_compares_within_each_round() -> None:
    cfg = OmegaConf.create({"model": {"name": "m"}, "batch_size": 1, "length": 2, "precision": "fp32",
                            "checkpointing": False})
    costs = {"ft": StepCost(0, 0, 0, 0, 80, Work(100, 0), Work(0, 0), Work(0, 0)),
             "lora": StepCost(0, 0, 0, 0, 50, Work(50, 0), Work(0, 0), Work(0, 0))}
    readings = {"product": [10.0, 5.0], "rest": [1.0, 1.0], "update": [1.0, 1.0], "ft": [10.0, 20.0],
                "lora": [4.0, 8.0]}
    found = cost_check.comparison(cfg, costs, readings, "lora", memory=40)
    assert (found["memory_error"], found["time_error"]) == (0.25, 0.25)
    assert (found["predicted_ratio"], found["measured_ratio"], found["ratio_error"]) == (0.5, 0.4, 0.25)


def test_the_benchmark_measures_and_writes_its_record_and_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(cost_check, "in_steady_process", lambda function, *args: function(*args))
    monkeypatch.setattr(cost_check, "PRODUCT", (64, 64, 64))
    monkeypatch.setattr(cost_check, "UPDATED", 2**12)
    setting = "{model: roberta-nano, batch_size: 2, length: 8, precision: fp32, checkpointing: false}"
    words = ["benchmark=cost", f"settings=[{setting}]", "methods=[lora]", "rounds=1", "memory_steps=1",
             f"output={tmp_path}"]
    record = run(benchmark, "benchmark", words, monkeypatch, capsys)
    assert record == asdict(read_benchmark(tmp_path / "cost.json"))
    assert list(record["variants"]) == ["roberta-nano 2 x 8 fp32 lora"]
    (row,) = record["variants"].values()
    assert row["ratio_to"] == "lora"
    assert row["measured_seconds"] > 0 < row["measured_memory_mb"]
    assert (tmp_path / "cost.md").read_text() == sheet_markdown(benchmark_sheet(read_benchmark(tmp_path / "cost.json")))


@pytest.mark.parametrize(("module", "words", "message"), [
    (benchmark, ["benchmark=cost", "methods=[lor]"], "method 'lor' is not one of .*; did you mean 'lora'"),
    (benchmark, ["benchmark=cost", "settings=[{model: minilm}]"], "a setting lacks batch_size, length"),
    (benchmark, ["benchmark=cost", "settings=[{model: minilm, batchsize: 1}]"],
     "key of a setting 'batchsize' is not one of"),
    (cost, ["stored=fp8"], "stored 'fp8' is not one of"),
    (cost, ["precision=fp18"], "precision 'fp18' is not one of .*; did you mean 'fp16'"),
    (cost, ["kind=causal_lm"], "is an encoder")])
def test_what_cannot_be_is_refused_by_name(module: Any, words: list[str], message: str,
                                           monkeypatch: pytest.MonkeyPatch,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    name = module.__name__.rpartition(".")[2]
    monkeypatch.setattr(sys, "argv", [name, *words])
    with pytest.raises(SystemExit):
        module.main()
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize("word", [path.stem for path in (CONF / "method").glob("*.yaml")])
def test_a_case_is_that_of_the_cost_command(word: str) -> None:
    setting = compose("benchmark=cost", config="benchmark").settings[1]
    found, wanted = cost_check.case(setting, word), compose("model=minilm", f"method={word}", "precision=bf16",
                                                            "batch_size=16", "length=64", "device=cpu", config="cost")
    assert found == wanted
    assert instantiate(found.method).name == found.method.name
