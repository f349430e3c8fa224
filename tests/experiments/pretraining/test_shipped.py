"""The models of results/nano/pretrained are those of their records, load, and know what they were shipped for."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from safetensors import safe_open

from experiments.models.files import check_weights, model_folder
from experiments.models.load import load_model, load_tokenizer
from experiments.models.record import PretrainRecord, check_files, read_record
from experiments.pretraining import train as pretraining
from experiments.pretraining.cloze import GATES, accuracies
from experiments.pretraining.folder import load_language_model, sample_logits
from experiments.pretraining.language import CorpusSource
from tests.conftest import ROOT

NANO = sorted(path.stem for path in (ROOT / "conf" / "model").glob("*-nano*.yaml"))
SHIPPED = ROOT / "results" / "nano" / "pretrained"
MODELS = sorted(path.name for path in SHIPPED.iterdir())
LARGEST = 8_000_000  # bytes of a model's folder


def config(model: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        return compose("pretrain", [f"model={model}", *overrides])


def shipped(model: str) -> tuple[Path, PretrainRecord]:
    folder = model_folder(config(model).model)
    record = read_record(folder)
    assert record is not None
    return folder, record


@pytest.fixture(scope="module")
def world() -> CorpusSource:
    """The one of conf/world, which every model was trained on."""
    return source(None)


@cache
def source(curriculum: str | None) -> CorpusSource:
    return pretraining.world_source(config("roberta-nano").world, curriculum)


@cache
def corpus(curriculum: str | None) -> str:
    return pretraining.corpus_hash(source(curriculum), config("roberta-nano").seed)


def test_the_models_that_ship_are_those_with_a_checksum():
    stated = {name for name in NANO if config(name).model.checksum is not None}
    assert stated == set(MODELS) == set(NANO)


@pytest.mark.parametrize("model", MODELS)
def test_the_files_are_those_of_the_record_and_of_the_config(model: str):
    cfg = config(model)
    folder, record = shipped(model)
    check_files(folder, record)
    check_weights(cfg.model, folder)
    assert cfg.model.checksum == record.files["model.safetensors"]
    assert sum(path.stat().st_size for path in folder.iterdir()) < LARGEST
    assert (record.dirty, record.commit is None) == (False, False)
    for path in folder.glob("*.json"):
        text = path.read_text()
        assert not any(place in text for place in ("/tmp", "/home", "/work"))


@pytest.mark.parametrize("model", MODELS)
def test_the_record_is_of_what_the_command_would_train(model: str):
    cfg = config(model)
    _, record = shipped(model)
    assert record.config == json.loads(json.dumps(pretraining.run_config(cfg)))
    assert record.corpus == corpus(cfg.curriculum)
    assert record.tokens >= cfg.tokens
    assert (record.precision, record.attention) == (cfg.precision, cfg.attention)


@pytest.mark.parametrize("path", sorted((SHIPPED.parent / "rebuilt").glob("*.json")), ids=lambda path: path.stem)
def test_a_rebuilt_model_has_the_held_out_loss_of_the_shipped_one_to_a_percent(path: Path):
    rebuilt = json.loads(path.read_text())
    _, record = shipped(path.stem)
    assert (rebuilt["run"], rebuilt["corpus"], rebuilt["dirty"]) == (record.run, record.corpus, False)
    assert rebuilt["commit"] != record.commit
    assert rebuilt["held_out_loss"] == pytest.approx(record.held_out_loss, rel=0.01)


@pytest.mark.parametrize("model", MODELS)
def test_the_weights_are_halves_and_give_the_recorded_logits(model: str):
    folder, record = shipped(model)
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"BF16"}  # noqa: SIM118
    assert sample_logits(folder, record.sample["text"]) == pytest.approx(record.sample["logits"], rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("model", MODELS)
def test_a_part_of_the_probes_is_passed(model: str, world: CorpusSource):
    folder, record = shipped(model)
    language = pretraining.make_language(config(model), world)
    found = accuracies(load_language_model(folder), language, world.probes(30))
    assert set(found) == set(GATES) == set(record.probes)
    for kind, least in GATES.items():
        assert record.probes[kind] >= least, kind
        assert found[kind] >= least - 0.1, kind  # 30 of each: one standard error is 0.05 to 0.08


@pytest.mark.parametrize("model", MODELS)
def test_the_tokenizer_knows_every_word_of_the_world(model: str, world: CorpusSource):
    tokenizer = load_tokenizer(config(model).model)
    assert not set(world.vocabulary) - set(tokenizer.get_vocab())
    ids = tokenizer("the robin chased a bee .", add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["the", "robin", "chased", "a", "bee", "."]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize(("change", "error", "message"), [
    (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x00"), ValueError, "{} has sha256 .*it was altered"),
    (lambda path: path.unlink(), FileNotFoundError, "no {} in"),
])
def test_an_altered_or_missing_file_is_refused_before_training(
    tmp_path: Path, name: str, change: Any, error: type[Exception], message: str
):
    cfg = config("deberta-nano").model
    whole, copy = model_folder(cfg), tmp_path / "deberta-nano"
    copy.mkdir()
    for path in whole.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    pinned = OmegaConf.merge(cfg, {"path": str(copy), "pinned": str(copy)})
    record = read_record(copy)
    assert record is not None
    assert name in record.files
    assert load_model(pinned, "classification", 2, ["no", "yes"])
    change(copy / name)
    with pytest.raises(error, match=message.format(name)):
        load_model(pinned, "classification", 2, ["no", "yes"])
    with pytest.raises(error, match=message.format(name)):
        load_tokenizer(pinned)
