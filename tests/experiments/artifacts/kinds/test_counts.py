"""Every count of the paper's list is what counting gives, and the list is printed beside what the paper prints."""

import csv
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from experiments import paper
from experiments.artifacts.artifact import read_config, read_rows
from experiments.artifacts.kinds import counts
from experiments.config.compose import train_configs
from experiments.store.paths import CONF

ARTIFACT = read_config(counts.CountsArtifact, OmegaConf.load(CONF / "artifact" / "counts.yaml"), "counts.yaml")


def rows_with_a_count(file: Path) -> list[dict[str, str]]:
    with file.open() as opened:
        return [row for row in csv.DictReader(opened) if row["params_exact"]]


def test_every_row_with_an_exact_count_equals_the_arithmetic(shared: Path) -> None:
    rows = rows_with_a_count(shared / "paper" / "parameter_counts.csv")
    started, shapes = time.process_time(), {}  # type: ignore[var-annotated]
    with train_configs() as compose:
        found = {(row["model"], row["method"], row["setting"]): counts.count_row(ARTIFACT, row, compose, shapes)
                 for row in rows}
    assert found == {(row["model"], row["method"], row["setting"]): int(row["params_exact"]) for row in rows}
    assert {p.device.type for model in shapes.values() for p in model.parameters()} == {"meta"}
    assert time.process_time() - started < 60  # seconds of one core, GPT-3 175B included


def test_a_row_whose_count_does_not_round_to_the_printed_one_says_why() -> None:
    silent = []
    for row in rows_with_a_count(CONF / "paper" / "parameter_counts.csv"):
        number, unit = row["params_printed"][:-1], row["params_printed"][-1]
        assert unit == "M"
        exact = f"{int(row['params_exact']) / 1e6:.{len(number.partition('.')[2])}f}"
        if exact != number and not row["remark"]:
            silent.append(f"{row['model']} {row['method']}, {row['setting']}: {number}M printed, {exact}M exact")
    assert silent == []


def test_every_method_of_the_list_is_counted() -> None:
    methods = {row["method"] for row in rows_with_a_count(CONF / "paper" / "parameter_counts.csv")}
    assert methods == ARTIFACT.settings.keys()


@pytest.mark.parametrize(("method", "setting", "expected"), [
    ("lora", "table 5: q, k, r=4", ["method.rank=4", "method.targets=[q,k]"]),
    ("lora", "q, v", None),
    ("adapter_d", "one adapter a layer, bottleneck 48", ["method.bottleneck=48"]),
    ("adapter_d", "bottleneck 48, first 8 layers dropped", ["method.bottleneck=48", "method.dropped_layers=8"]),
    ("adapter_h", "0.1% of the model", None),
    ("prefix_layer", "l_p=8 l_i=0", ["method.l_p=8", "method.l_i=0"]),
    ("lora+prefix_embed", "q, v, r=8, l_p=8 l_i=4",
     ["method.parts.lora.rank=8", "method.parts.lora.targets=[q,v]", "method.parts.prefix_embed.l_p=8",
      "method.parts.prefix_embed.l_i=4"]),
    ("unheard_of", "r=4", None),
])
def test_a_setting_is_read_or_its_row_has_no_count(method: str, setting: str, expected: list[str] | None) -> None:
    found = counts.row_overrides(ARTIFACT, {"model": "gpt3", "method": method, "setting": setting})
    assert found == (None if expected is None else
                     ["model=gpt3-175b", f"method={method}", "preset=null", *expected])


def test_the_command_prints_printed_exact_and_remark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = CONF / "paper" / "parameter_counts.csv"
    few = [row for row in csv.DictReader(given.open()) if row["model"] == "roberta-base" or "0.1%" in row["setting"]]
    monkeypatch.setattr(counts, "read_rows", lambda name: few)
    monkeypatch.setattr(counts, "check_methods", lambda artifact, printed: None)
    monkeypatch.setattr(sys, "argv", ["paper", "artifact=counts", f"store={tmp_path}"])
    paper.main()
    out = capsys.readouterr().out
    last = json.loads(out.splitlines()[-1])
    assert (last["rows"], last["counted"]) == (len(few), 5)
    text = (tmp_path / "tables" / "counts.md").read_text()
    assert "| RoBERTa-base | BitFit | every bias of the encoder | 0.1M | 102,144 | - |" in text
    assert "| GPT-2 Medium | Prefix layer | the paper quotes 0.1% of the model | 0.35M | - | 24 x 1024 x l" in text
    with (tmp_path / "tables" / "counts.csv").open() as file:
        assert [row["exact"] for row in csv.DictReader(file)][:5] == ["124647170", "102144", "894528", "298176",
                                                                      "294912"]


@pytest.mark.parametrize(("change", "message"), [
    ({"settings": {"lroa": {}}}, "method of artifact counts 'lroa' is not one of .*; did you mean 'lora'"),
    ({"models": ARTIFACT.models | {"gpt3": "gpt3-176b"}}, "'gpt3-176b' is not one of .*; did you mean 'gpt3-175b'"),
])
def test_a_name_that_is_not_there_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        counts.check_methods(replace(ARTIFACT, **change), read_rows("parameter_counts"))
