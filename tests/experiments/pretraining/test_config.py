"""What a pre-training is told: bad values are named before anything is made."""

import json
import sys
from pathlib import Path
from typing import Any

import joblib
import pytest
import torch
from omegaconf import OmegaConf

from experiments import pretrain
from experiments.pretraining import train as pretraining
from experiments.pretraining.check import check_shipped
from experiments.pretraining.config import check_config
from experiments.pretraining.loop import fastest
from experiments.store.paths import CONF
from experiments.training import hardware
from tests.experiments.pretraining.made import SHAPES, config, language, source

pytestmark = pytest.mark.usefixtures("small_corpus")
MODELS = list(SHAPES)


def test_stated_arithmetic_is_not_measured_and_auto_takes_one_that_was():
    from transformers import AutoConfig

    cfg = config("")
    made = AutoConfig.for_model(**pretraining.run_config(cfg)["model"]["config"])
    assert fastest(cfg, made, language()) == ("fp32", "eager", {})
    cfg.precision = "auto"
    precision, attention, measured = fastest(cfg, made, language())
    assert list(measured) == ["fp32 eager", "bf16 eager"]
    assert f"{precision} {attention}" in measured


@pytest.mark.parametrize(("changes", "message"), [
    ({"max_length": 4096}, r"max_length 4096 is more than the \d+ positions of roberta-nano"),
    ({"gates": "[experiments.pretraining.gates.understandin]"},
     r"gates 'experiments\.pretraining\.gates\.understandin' is not one of .* "
     r"did you mean 'experiments\.pretraining\.gates\.understanding'"),
    ({"gates": "[gates.understanding]"}, r"gates: there is no module 'gates' of 'gates\.understanding'"),
])
def test_a_bad_value_is_named(changes: dict[str, object], message: str, tmp_path: Path):
    cfg = config(tmp_path)
    for key, value in changes.items():
        cfg.merge_with_dotlist([f"{key}={value}"])
    with pytest.raises(ValueError, match=message):
        check_config(cfg)


@pytest.mark.parametrize(("changes", "cores", "limit", "threads"), [
    ({}, 2, None, 1), ({"threads": 2}, 2, None, 2), ({}, 2, 0, 2), ({"threads": 1}, 2, 0, 1)])
def test_threads_are_those_stated_or_by_size_and_cores_and_are_recorded(
    changes: dict[str, object], cores: int, limit: int | None, threads: int, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch
):
    """`limit`: the parameters from which on a model is large."""
    monkeypatch.setattr(joblib, "cpu_count", lambda: cores)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if limit is not None:
        monkeypatch.setattr(hardware, "FEW_PARAMETERS", limit)
    used: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    cfg = config(tmp_path, tokens=200, evaluate_every=1000, gates=[], **changes)
    check_config(cfg)
    record = pretraining.run(cfg, source())
    assert (record.threads, used) == (threads, [threads])
    cfg.model.path = str(tmp_path / "roberta-nano")
    check_shipped(cfg, source())
    assert used == [threads, threads]


@pytest.mark.parametrize("model", MODELS)
def test_a_models_size_is_known_before_it_is_made(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []
    monkeypatch.setattr(pretraining, "take_threads", lambda threads, parameters: asked.append(parameters) or 1)
    record = pretraining.run(config(tmp_path, model, tokens=200, evaluate_every=1000), source())
    assert asked == [record.parameters]


def test_an_unknown_curriculum_names_the_nearest():
    world: Any = OmegaConf.load(CONF / "world" / "default.yaml")
    with pytest.raises(ValueError, match=r"'lookup' is not one of lookups, mentions; did you mean 'lookups'"):
        pretraining.world_source(world, "lookup")


@pytest.mark.parametrize("stages", [[0.5], [0.6, 0.4], [0.5, 1.5], [0.2, 0.4, 0.6], 0.5])
def test_stages_that_the_corpus_does_not_have_are_named(stages: object, tmp_path: Path):
    with pytest.raises(ValueError, match=r"stages .* is not a list of 2 shares .* the corpus has 3 stages"):
        pretraining.run(config(tmp_path, stages=stages), source())


def test_a_model_that_is_not_nano_names_those_that_are(tmp_path: Path):
    cfg = config(tmp_path)
    cfg.merge_with_dotlist(["model.name=local", "model.config=null", "tokens=null"])
    with pytest.raises(ValueError, match=r"model 'local' is no nano model.*gpt2-nano.*roberta-nano"):
        check_config(cfg)


def test_another_vocabulary_size_says_which_it_must_be(tmp_path: Path):
    cfg = config(tmp_path)
    cfg.model.config.vocab_size = 32
    with pytest.raises(ValueError, match=r"vocab_size is 32, the 21 words .* are 24"):
        pretraining.run(cfg, source())


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"output .*file/models cannot be written"):
        pretraining.run(config(tmp_path / "file" / "models"), source())


def test_the_command_prints_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    if not (CONF / "world" / "default.yaml").exists():
        pytest.skip("needs conf/world")
    monkeypatch.setattr(pretraining, "world_source", lambda world, curriculum: source())
    small = [f"model.config.{key}={value}" for key, value in (SHAPES["gpt2-nano"] | {"vocab_size": 24}).items()]
    monkeypatch.setattr(sys, "argv", ["pretrain", "model=gpt2-nano", *small, "tokens=300", "batch_size=8",
                                      "precision=fp32", "attention=eager", f"output={tmp_path}"])
    pretrain.main()
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (record["model"], record["precision"]) == ("gpt2-nano", "fp32")
    monkeypatch.setattr(sys, "argv", ["pretrain", "model=roberta-base", f"output={tmp_path}"])
    with pytest.raises(SystemExit):
        pretrain.main()
    assert "model 'roberta-base' is no nano model" in json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
