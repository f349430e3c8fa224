"""Latency compares like with like: the variants compute what they are named for, in rounds, with honest intervals."""

import inspect
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import DictConfig

from analysis.figures.scores import slowdown_figure
from experiments import latency
from experiments.artifacts.kinds import latency as latency_study
from experiments.artifacts.kinds.latency import paper_rows
from experiments.measure import latency as latency_module
from experiments.measure import passes
from experiments.measure.latency import latency_cells, median_interval
from experiments.measure.passes import ADAPTERS, BASE, MERGED, Limit, Setting, Variant, adapted
from experiments.models.load import load_model
from lora import merged
from tests.experiments.made import compose

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
    found = passes.limited_rounds(runs, torch.device("cpu"), config("warmup=2", "trials=10"), Limit())
    assert {len(times) for times in found.values()} == {10}
    turns = [tuple(called[i:i + 6]) for i in range(12, len(called), 6)]  # after the warm-up
    assert len(turns) == 10
    assert all(sorted(turn) == list("abcdef") for turn in turns)
    assert len(set(turns)) > 5


class Clock:
    """A clock that only passes move: each takes `second` for every token."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, second: float = 1.0) -> None:
        self.now, self.second = 0.0, second
        monkeypatch.setattr(passes.time, "perf_counter", lambda: self.now)

    def passes(self, setting: Setting) -> dict[Variant, Any]:
        def one() -> None:
            self.now += self.second * setting.batch_size * setting.length
        return dict.fromkeys(setting.variants, one)


def test_a_setting_ends_with_its_share_of_time_but_not_before_its_least_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = Setting("figure5", 1, 1, (Variant("a", 1), Variant("b", 1)))
    for limit, trials in ((Limit(0, 1000), 4), (Limit(29, 1000), 13), (Limit(30, 1000), 14), (Limit(), 50)):
        clock = Clock(monkeypatch)
        words = config("warmup=1", "trials=50", "least_trials=4")
        found = passes.limited_rounds(clock.passes(alone), torch.device("cpu"), words, limit)
        assert len(found[Variant("a", 1)]) == trials  # a round takes 2 s, and the first is warm-up
    with pytest.raises(passes.OutOfTime) as caught:
        # the least rounds take 10 s
        passes.limited_rounds(Clock(monkeypatch).passes(alone), torch.device("cpu"), words, Limit(0, 9))
    assert caught.value.seconds == 2


def test_settings_that_can_have_their_least_rounds_share_the_time_by_what_a_round_takes() -> None:
    waiting = [Setting("figure5", 1, length, (Variant("a", 1),)) for length in (10, 30, 60, 1000)]
    assert passes.share(waiting, 1000, rate=1, least=10) == 100  # of 10, 30 and 60, each a hundred times
    assert passes.share(waiting, 999, rate=1, least=10) == 999 / 4
    assert passes.share(waiting, 100, rate=1, least=10) == 100
    assert passes.share(waiting, 99, rate=1, least=10) is None
    assert passes.share(waiting, 100, rate=2, least=10) is None


@pytest.mark.parametrize(("seconds", "second", "measured"), [
    (300, 0.1, 1), (1000, 0.1, 3), (2400, 0.1, 4), (7000, 0.1, 5), (7000, 0.01, 6), (7000, 0.001, 6)])
def test_a_command_ends_with_its_seconds_and_names_what_it_leaves_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seconds: float, second: float, measured: int
) -> None:
    """7 rounds of 2 passes of the settings up to 100, 200, 400, 1000, 2000 and 4000 tokens have 1400, 4200, 9800,
    23800, 51800 and 107800 tokens.
    """
    clock = Clock(monkeypatch, second)
    monkeypatch.setattr(latency_module, "pass_seconds", lambda cfg, device, setting, limit: passes.limited_rounds(
        clock.passes(setting), device, cfg, limit))
    monkeypatch.setattr(latency_module, "token_seconds", lambda cfg, device, setting: second)
    settings = [Setting("figure5", 1, length, (Variant(BASE, 0), Variant("lora", 2)))
                for length in (4000, 100, 1000, 200, 400, 2000)]
    cfg = config("trials=100", f"output={tmp_path}")
    found, left_out = latency_module.measure_all(cfg, torch.device("cpu"), settings, seconds)
    smallest = sorted(settings, key=lambda setting: setting.length)
    assert list(found) == [setting for setting in settings if setting in smallest[:measured]]
    assert clock.now <= seconds
    rounds = [len(passes_of[Variant(BASE, 0)]) for passes_of in found.values()]
    assert min(rounds) >= 6
    if measured < 6:
        assert min(rounds) == 100 or clock.now > 0.5 * seconds
        assert [line.partition(" of figure5")[0] for line in left_out] == [
            f"1 x {setting.length}" for setting in smallest[measured:]]
        assert f"7 rounds of {2 * second * smallest[measured].length:.3g} s" in left_out[0]
    cells = pd.read_csv(tmp_path / "latency_cells.csv")
    assert sorted(set(cells.length)) == [setting.length for setting in smallest[:measured]]


def test_a_command_without_the_time_for_anything_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(latency_module, "token_seconds", lambda cfg, device, setting: 1.0)
    with pytest.raises(ValueError, match=r"seconds 5 are too few: 1 x 10 of table1 is left out: 7 rounds of 10 s"):
        latency_module.measure_all(config(f"output={tmp_path}"), torch.device("cpu"),
                            [Setting("table1", 1, 10, (Variant(BASE, 0),))], 5)


def test_a_stopped_command_keeps_the_settings_that_it_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(cfg: DictConfig, device: torch.device, setting: Setting, limit: Limit) -> Any:
        if setting.length == 8:
            raise KeyboardInterrupt
        return passes.pass_seconds(cfg, device, setting, limit)

    monkeypatch.setattr(latency_module, "pass_seconds", stopped)
    words = ["table=[]", "batch_sizes=[1]", "lengths=[4,8]", f"output={tmp_path}"]
    with pytest.raises(KeyboardInterrupt):
        inspect.unwrap(latency.main)(config(*words))
    cells = pd.read_csv(tmp_path / "latency_cells.csv")
    assert set(cells.length) == {4}
    assert len(cells) == 7


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
    words = ["table=[[1,128]]", "batch_sizes=[1,2]", "lengths=[4]", f"output={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["latency", *TINY, *words])
    latency.main()
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert record == json.loads((tmp_path / "latency.json").read_text())
    assert {path.name for path in tmp_path.iterdir()} >= {"table1.csv", "latency.md", "figure5.png", "figure5.pdf"}
    assert len(record["cells"]) == 5 + 2 * 7
    assert {cell["trials"] for cell in record["cells"]} == {6}
    said = {"warmup": 1, "trials": 6, "least_trials": 6, "seconds": 1200, "seed": 0, "threads": 1, "left_out": [],
            "table": [[1, 128]], "batch_sizes": [1, 2], "lengths": [4], "bottlenecks": [2, 4], "rank": 2}
    assert {key: record[key] for key in said} == said
    table = pd.read_csv(tmp_path / "table1.csv")
    assert list(table[table["from"] == "ours"].variant) == [BASE, MERGED, "lora", "adapter_l", "adapter_h"]
    assert len(table[table["from"] == "paper"]) == 9
    adapters = [(design, width) for design in ADAPTERS for width in (2, 4)]
    grid = pd.read_csv(tmp_path / "figure5.csv")
    assert list(zip(grid.variant, grid.width.fillna(0), strict=True)) == 2 * [
        (BASE, 0), (MERGED, 2), ("lora", 2), *adapters]


def test_without_rows_of_table_1_the_page_is_figure_5_alone_with_its_intervals() -> None:
    seconds = {Variant(BASE, 0): [1.0] * 9, Variant(MERGED, 2): [1.0] * 9,
               **{Variant(design, 2): [1.1, 1.2, 1.2, 1.2, 1.3, 1.3, 1.3, 1.4, 1.5] for design in ADAPTERS}}
    about = {"model": "m", "device": "cpu", "dtype": "fp32", "threads": 1, "left_out": ["2 x 4 is left out"],
             "table": [], "batch_sizes": [1], "lengths": [4], "level": 0.95}
    cells = latency_cells(config("table=[]", "batch_sizes=[1]", "lengths=[4]", "bottlenecks=[2]"),
                          {Setting("figure5", 1, 4, tuple(seconds)): seconds})
    study = latency_study.latency_study(cells, about)
    assert list(study.tables) == ["figure5"] == list(study.figures)
    assert list(study.tables["figure5"]["slow-down %"]) == ["0.0", "0.0 [0.0, 0.0]", *["30.0 [20.0, 40.0]"] * 2]
    assert not any("Paper" in note for note in study.notes)
    assert study.notes[-1] == "2 x 4 is left out"


def test_the_figure_has_a_panel_for_each_design_and_length_and_a_number_in_each_cell() -> None:
    frame = pd.DataFrame([[1.0, 20.0], [3.0, -4.0]], index=[1, 16], columns=[10, 250])
    figure = slowdown_figure({"AdapterH": {128: frame, 512: frame}, "AdapterL": {128: frame, 512: frame}}, "caption")
    panels = figure.axes[:4]
    assert [axes.get_title() for axes in panels] == ["length 128", "length 512", "", ""]
    assert [text.get_text() for text in panels[0].texts] == ["1.0", "20.0", "3.0", "-4.0"]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["1", "16"]
    assert panels[0].images[0].get_clim() == (-20, 20)  # -4 and 0 differ in colour
    ends = {length: (frame - 1, frame + 1) for length in (128, 512)}
    figure = slowdown_figure({"AdapterH": {128: frame, 512: frame.abs()}}, "caption", {"AdapterH": ends})
    assert figure.axes[0].texts[3].get_text() == "-4.0\n[-5.0, -3.0]"
    figure = slowdown_figure({"AdapterH": {128: frame.abs()}}, "caption")
    assert figure.axes[0].images[0].get_clim() == (0, 20)


def test_the_figure_is_blank_where_nothing_was_measured() -> None:
    cells = [{"part": "figure5", "batch_size": batch_size, "length": length, "variant": design, "width": 10,
              "slowdown": 100 * batch_size + length, "slowdown_low": float(length), "slowdown_high": None}
             for batch_size, length in ((1, 4), (2, 4), (1, 8)) for design in ("adapter_h", "adapter_l")]
    figure = latency_study._figure({"batch_sizes": [1, 2, 4], "level": 0.95}, pd.DataFrame(cells), "a machine")
    panels = figure.axes[:4]
    assert [axes.get_title() for axes in panels[:2]] == ["length 4", "length 8"]
    assert [[text.get_text() for text in axes.texts] for axes in panels] == [
        ["104.0\n[4.0, –]", "204.0\n[4.0, –]"], ["108.0\n[8.0, –]"]] * 2
    assert {axes.images[0].get_array().shape for axes in panels} == {(2, 1)}


@pytest.mark.parametrize(("words", "message"), [
    (["table=[[1,129]]"], r"row of table '\[1,129\]' is not one of .*; did you mean"),
    (["dtype=fp8"], "dtype 'fp8' is not one of .*"),
    (["bottlenecks=[0]"], r"bottlenecks \[0\] is not a list, each a whole number of at least 1"),
    (["bottlenecks=[4,17]"], r"bottleneck 17 is not in 1\.\.16"),
    (["lengths=[4,2048]"], "length 2048 is above the model's 1024 positions"),
    (["table=[]", "batch_sizes=[]"], "nothing to measure"),
    (["device=cuda"], "finds no GPU"),
    (["seconds=-5"], "seconds -5 is not auto or null or a number above 0"),
    (["seconds=abc"], "seconds 'abc' is not auto or null or a number above 0"),
    (["seconds=atuo"], "seconds 'atuo' is not .*; did you mean 'auto'"),
    (["seconds=true"], "seconds True is not auto"),
    (["warmup=-1"], "warmup -1 is not a whole number of at least 0"),
    (["level=95"], "level 95 is not a number above 0 and below 1"),
    (["table=[]", "batch_sizes=[1]", "lengths=[2000]"], "length 2000 is above the model's 1024 positions")])
def test_what_cannot_be_measured_is_said_first(words: list[str], message: str, monkeypatch: pytest.MonkeyPatch,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    if words == ["device=cuda"] and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.setattr(sys, "argv", ["latency", *TINY, *words])
    built: list[str] = []
    monkeypatch.setattr(passes, "load_model", lambda *args: built.append("a model"))
    with pytest.raises(SystemExit):
        latency.main()
    assert not built
    assert re.search(message, capsys.readouterr().err)
