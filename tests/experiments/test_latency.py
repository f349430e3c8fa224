"""Latency compares like with like: the variants compute what they are named for, in rounds, with honest intervals."""

import json
import math
import re
import sys
from itertools import count as counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import DictConfig

from analysis.figures import slowdown_figure
from experiments import latency, passes
from experiments.latency_study import median_interval, paper_rows
from experiments.models import load_model
from experiments.passes import BASE, MERGED, Variant, adapted
from lora import merged
from tests.experiments.tiny import compose

TINY = ["model=gpt2", *(f"model.config.{key}" for key in ("n_embd=16", "n_layer=2", "n_head=2", "vocab_size=50")),
        "threads=1", "logger.wandb.mode=disabled", "widths.many={lora: 2, adapter_l: 4, adapter_h: 2}",
        "warmup=1", "trials=6", "bottlenecks=[2,4]", "rank=2"]


def config(*words: str) -> DictConfig:
    return compose(*TINY, *words, config="latency")


def base_model(cfg: DictConfig) -> Any:
    torch.manual_seed(0)
    return load_model(cfg.model, "causal_lm", 2, []).eval()


@torch.no_grad()
def test_merged_lora_is_the_unmerged_one_and_no_base_weight_is_changed() -> None:
    cfg = config()
    base, ids = base_model(cfg), torch.randint(50, (2, 5))
    before = base(ids).logits
    torch.manual_seed(1)
    unmerged = adapted(base, Variant("lora", 2), cfg)
    torch.manual_seed(1)
    inside = adapted(base, Variant(MERGED, 2), cfg)
    assert (merged(unmerged), merged(inside)) == (None, "default")
    assert not torch.allclose(unmerged(ids).logits, before, atol=1e-3)
    torch.testing.assert_close(inside(ids).logits, unmerged(ids).logits, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(base(ids).logits, before, atol=0, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("method", ["adapter_h", "adapter_l"])
def test_an_adapter_changes_the_output_and_shares_the_bases_weights(method: str) -> None:
    cfg = config()
    base, ids = base_model(cfg), torch.randint(50, (2, 5))
    model = adapted(base, Variant(method, 4), cfg)
    assert not torch.allclose(model(ids).logits, base(ids).logits, atol=1e-3)
    own = {id(parameter) for parameter in model.parameters()}
    assert {id(parameter) for parameter in base.parameters()} <= own


def test_half_precision_reaches_the_adapters() -> None:
    cfg = config()
    base = base_model(cfg).to(torch.bfloat16)
    for method in ("lora", MERGED, "adapter_h", "adapter_l"):
        model = adapted(base, Variant(method, 2), cfg)
        assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_every_round_runs_every_variant_once_in_an_order_of_its_own() -> None:
    called: list[str] = []
    variants = [Variant(name, 1) for name in "abcdef"]
    runs = {variant: lambda name=variant.method: called.append(name) for variant in variants}
    found = passes.rounds(runs, torch.device("cpu"), config("warmup=2", "trials=10"))
    assert {len(times) for times in found.values()} == {10}
    turns = [tuple(called[i:i + 6]) for i in range(12, len(called), 6)]  # after the warm-up
    assert len(turns) == 10
    assert all(sorted(turn) == list("abcdef") for turn in turns)
    assert len(set(turns)) > 5


def test_a_setting_ends_with_its_seconds_but_not_before_its_least_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = counter()
    monkeypatch.setattr(passes.time, "perf_counter", lambda: float(next(clock)))
    runs = {Variant("a", 1): lambda: None}
    for words, trials in ((["seconds=0", "least_trials=4"], 4), (["seconds=30", "least_trials=1"], 11),
                          (["seconds=null"], 50)):
        found = passes.rounds(runs, torch.device("cpu"), config("warmup=0", "trials=50", *words))
        assert len(found[Variant("a", 1)]) == trials  # a round reads the clock three times


def test_a_median_interval_is_that_of_order_statistics() -> None:
    # of 10 values, the 2nd and 9th: 1 - 2 * (1 + 10) / 2^10 = 97.9 %, and the 3rd and 8th have only 89.1 %
    found = median_interval([10, 1, 9, 2, 8, 3, 7, 4, 6, 5], 0.95)
    assert (found.median, found.low, found.high, found.n) == (5.5, 2, 9, 10)
    assert (median_interval(range(6), 0.95).low, median_interval(range(6), 0.95).high) == (0, 5)  # 96.9 %
    assert median_interval(range(5), 0.95).low is None  # 93.8 % at the most


@pytest.mark.parametrize("n", [6, 11, 25])
def test_a_median_interval_covers_as_often_as_it_says(n: int) -> None:
    draw, hits = np.random.default_rng(0), 0
    for _ in range(1000):
        found = median_interval(list(draw.exponential(size=n)), 0.9)
        hits += found.low <= math.log(2) <= found.high  # type: ignore[operator]
    assert hits >= 880


def test_table_1_has_the_papers_settings() -> None:
    rows = paper_rows(compose(config="latency"))
    assert [(row.batch_size, row.length, row.params) for row in rows] == [
        (32, 512, "0.5M"), (16, 256, "11M"), (1, 128, "11M")]
    assert Variant("adapter_h", 112) in rows[2].variants
    assert [variant.method for variant in rows[0].variants] == [BASE, MERGED, "lora", "adapter_l", "adapter_h"]


def test_the_command_writes_table_figure_and_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    words = ["table=[[1,128]]", "batch_sizes=[1,2]", "lengths=[4]", f"output_dir={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["latency", *TINY, *words])
    latency.main()
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert record == json.loads((tmp_path / "latency.json").read_text())
    assert {path.name for path in tmp_path.iterdir()} >= {"table1.csv", "latency.md", "figure5.png", "figure5.pdf"}
    assert len(record["cells"]) == 5 + 2 * 7
    assert {cell["trials"] for cell in record["cells"]} == {6}
    table = pd.read_csv(tmp_path / "table1.csv")
    assert list(table[table["from"] == "ours"].variant) == [BASE, MERGED, "lora", "adapter_l", "adapter_h"]
    assert len(table[table["from"] == "paper"]) == 9


def test_the_figure_has_a_panel_for_each_design_and_length_and_a_number_in_each_cell() -> None:
    frame = pd.DataFrame([[1.0, 20.0], [3.0, -4.0]], index=[1, 16], columns=[10, 250])
    figure = slowdown_figure({"AdapterH": {128: frame, 512: frame}, "AdapterL": {128: frame, 512: frame}}, "caption")
    panels = figure.axes[:4]
    assert [axes.get_title() for axes in panels] == ["length 128", "length 512", "", ""]
    assert [text.get_text() for text in panels[0].texts] == ["1.0", "20.0", "3.0", "-4.0"]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["1", "16"]


@pytest.mark.parametrize(("words", "message"), [
    (["table=[[1,129]]"], r"row of table '\[1,129\]' is not one of .*; did you mean"),
    (["dtype=fp8"], "dtype 'fp8' is not one of .*"),
    (["bottlenecks=[0]"], "bottlenecks 0 is not a whole number"),
    (["table=[]", "batch_sizes=[]"], "nothing to measure"),
    (["device=cuda"], "finds no GPU"),
    (["level=95"], "level 95 is not between 0 and 1"),
    (["table=[]", "batch_sizes=[1]", "lengths=[2000]"], "length 2000 is above the model's 1024 positions")])
def test_what_cannot_be_measured_is_said_first(words: list[str], message: str, monkeypatch: pytest.MonkeyPatch,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    if words == ["device=cuda"] and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.setattr(sys, "argv", ["latency", *TINY, *words])
    with pytest.raises(SystemExit):
        latency.main()
    assert re.search(message, capsys.readouterr().err)
