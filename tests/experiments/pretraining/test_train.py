"""Pre-training: what is learnt, that it resumes, and what is kept and checked of a model."""

import itertools
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file

from experiments.models.load import load_model, load_tokenizer
from experiments.models.record import RECORD, PretrainRecord, read_record
from experiments.pretraining import train as pretraining
from experiments.pretraining.check import check_shipped, rebuilt_gates
from experiments.pretraining.cloze import held_out_loss
from experiments.pretraining.folder import load_language_model
from experiments.pretraining.gates import Gate
from experiments.pretraining.language import Batch, Stream
from experiments.pretraining.loop import Pretraining
from experiments.store.paths import CONF
from tests.experiments.pretraining.made import SHAPES, WORDS, config, fresh, language, source

pytestmark = pytest.mark.usefixtures("small_corpus")
MODELS = list(SHAPES)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PretrainRecord]:
    """The output folder of a finished roberta-nano, and its record."""
    output = tmp_path_factory.mktemp("output")
    return output, pretraining.run(config(output), source())


def test_a_stage_begins_where_its_share_of_the_budget_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple[int, int]] = []
    batch = Stream.batch

    def noted(self: Stream, step: int, stage: int) -> Batch:
        asked.append((step, stage))
        return batch(self, step, stage)

    monkeypatch.setattr(Stream, "batch", noted)
    record = pretraining.run(config(tmp_path, stages=[0.25, 0.5], evaluate_every=100_000), source())
    counts = [sum(stage == number for _, stage in asked) for number in range(3)]
    assert [stage for _, stage in asked] == sorted(stage for _, stage in asked)
    assert sum(counts) == record.steps
    assert [count / record.steps for count in counts] == pytest.approx([0.25, 0.25, 0.5], abs=0.05)


@pytest.mark.parametrize("model", MODELS)
def test_training_lowers_the_held_out_loss(model: str, tmp_path: Path):
    before = held_out_loss(fresh(model), language(model).held_out(24, 8))
    record = pretraining.run(config(tmp_path, model, tokens=8000), source())
    assert record.held_out_loss < before - 0.5
    assert record.tokens >= 8000 > record.tokens - 8 * 40
    assert [entry["tokens"] // 1500 for entry in record.curve] == [1, 2, 3, 4, 5, record.tokens // 1500]


class Killed(Exception):
    pass


def kill(cfg: DictConfig, tokens: int) -> None:
    """Train up to the step after which there are more than so many tokens."""
    step = Pretraining._step

    def until_killed(self: Pretraining) -> None:
        if self.progress.tokens > tokens:
            raise Killed
        step(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pretraining, "_step", until_killed)
        with pytest.raises(Killed):
            pretraining.run(cfg, source())


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(number, stage) of the steps that are made from here on."""
    made: list[tuple[int, int]] = []
    batch = Stream.batch
    monkeypatch.setattr(Stream, "batch", lambda self, *step: (made.append(step), batch(self, *step))[1])
    return made


@pytest.mark.parametrize(("stages", "at"), [
    ([0.4, 0.6], "before the checkpoint"), ([0.4, 0.72], "between checkpoint and kill"), ([0.4, 0.9], "after both")])
@pytest.mark.parametrize("model", ["roberta-nano", "gpt2-nano"])
def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(
    model: str, stages: list[float], at: str, tmp_path: Path, steps: list[tuple[int, int]]
):
    changes = {"dropout": 0.1, "tokens": 3000, "stages": stages}  # dropout draws from the global generator
    pretraining.run(config(tmp_path / "whole", model, **changes), source())
    in_one = steps.copy()
    steps.clear()
    cfg = config(tmp_path / "killed", model, **changes)
    kill(cfg, 2400)  # the checkpoint is of the step that passed 2000
    before = steps.copy()
    steps.clear()
    record = pretraining.run(cfg, source())
    assert steps == in_one[steps[0][0]:]
    assert 0 < steps[0][0] < len(before)
    reached = {"before the checkpoint": (2, 2), "between checkpoint and kill": (1, 2), "after both": (1, 1)}[at]
    assert (before[steps[0][0] - 1][1], before[-1][1]) == reached
    assert steps[-1][1] == 2
    weights = [load_file(tmp_path / name / model / "model.safetensors") for name in ("whole", "killed")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    whole = read_record(tmp_path / "whole" / model)
    assert whole is not None
    assert (record.held_out_loss, record.curve) == (whole.held_out_loss, whole.curve)
    assert not any((tmp_path / "killed" / "checkpoints").iterdir())


def test_a_killed_run_goes_on_after_one_of_another_config_with_the_same_output(
    tmp_path: Path, steps: list[tuple[int, int]]
):
    cfg = config(tmp_path, tokens=3000)
    kill(cfg, 2400)
    pretraining.run(config(tmp_path, tokens=1000), source())
    steps.clear()
    pretraining.run(config(tmp_path, tokens=3000, overwrite=True), source())
    assert steps[0][0] > 0


def test_a_killed_overwriting_goes_on_where_it_was_and_the_next_one_starts_anew(
    tmp_path: Path, steps: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
):
    cfg = config(tmp_path, tokens=3000, overwrite=True)
    pretraining.run(cfg, source())
    kill(cfg, 2400)
    steps.clear()
    with monkeypatch.context() as patch:  # killed a second time, as the model is in place
        patch.setattr(pretraining, "remove_checkpoint", lambda _: None)
        pretraining.run(cfg, source())
    assert steps[0][0] > 0
    steps.clear()
    assert pretraining.run(cfg, source()).steps == len(steps)
    assert steps[0][0] == 0


def test_a_finished_run_is_not_computed_again(trained: tuple[Path, PretrainRecord], monkeypatch: pytest.MonkeyPatch):
    output, record = trained
    monkeypatch.setattr(pretraining, "_train", lambda *_: pytest.fail("trained again"))
    assert pretraining.run(config(output, threads=2, checkpoint_every=5), source()) == record
    with pytest.raises(ValueError, match=r"holds a model of tokens=4000 \(here 5000\): overwrite=true replaces it"):
        pretraining.run(config(output, tokens=5000), source())
    monkeypatch.setattr(pretraining, "corpus_hash", lambda *_: "0" * 64)
    with pytest.raises(ValueError, match="holds a model of another corpus"):
        pretraining.run(config(output), source())


def test_the_folder_holds_what_the_record_says(trained: tuple[Path, PretrainRecord]):
    output, record = trained
    folder = output / "roberta-nano"
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json", "curve.png", "model.safetensors", "record.json", "tokenizer.json", "tokenizer_config.json"]
    tensors = load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert sum(tensor.numel() for tensor in tensors.values()) == record.parameters  # a tied head is stored once
    made = json.loads((folder / "config.json").read_text())
    assert (made["hidden_dropout_prob"], made["attention_probs_dropout_prob"]) == (0.1, 0.1)
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    stored = held_out_loss(load_language_model(folder), language().held_out(24, 8))
    assert record.held_out_loss == pytest.approx(stored, rel=1e-6)
    assert not [path for path in output.iterdir() if path.name.startswith(".")]
    for path in folder.glob("*.json"):
        assert str(output) not in path.read_text()


@pytest.mark.parametrize("model", MODELS)
def test_a_stored_model_is_a_base_for_fine_tuning(model: str, tmp_path: Path):
    cfg = config(tmp_path, model, tokens=200, evaluate_every=1000)
    pretraining.run(cfg, source())
    cfg.model.path = str(tmp_path / model)
    kind = "causal_lm" if model.startswith("gpt") else "classification"
    network, tokenizer = load_model(cfg.model, kind, 2, ["no", "yes"]), load_tokenizer(cfg.model)
    rows = tokenizer(["is the bird red ?", "yes ."], ["a fish .", "no"], padding=True, return_tensors="pt")
    assert network.dtype == torch.float32
    assert network(**rows).logits.shape[0] == 2


def test_the_check_measures_again_and_counts_what_fails(
    trained: tuple[Path, PretrainRecord], capsys: pytest.CaptureFixture[str]
):
    output, record = trained
    cfg = config(output, check=True, gates=[f"{__name__}.further_gates"])
    cfg.model.path = str(output / "roberta-nano")
    found = check_shipped(cfg, source())
    assert found["held_out_loss"] == pytest.approx(record.held_out_loss, rel=1e-6)
    gates = {gate["name"]: gate for gate in found["gates"]}
    assert list(gates) == ["class", "polarity", "rebuilt held-out loss / shipped", "further"]
    assert gates["rebuilt held-out loss / shipped"]["passed"]
    assert not gates["further"]["passed"]
    assert found["failed"] == sum(not gate["passed"] for gate in gates.values())
    table = capsys.readouterr().out
    assert all(word in table for word in ("class", ">= 0.9", ">= 0.99, <= 1.01", "FAIL"))


@pytest.mark.parametrize(("factor", "passed"), [(1.009, True), (0.991, True), (1.011, False), (0.989, False)])
def test_a_rebuilt_model_whose_loss_is_one_percent_off_is_told(
    factor: float, passed: bool, trained: tuple[Path, PretrainRecord], tmp_path: Path
):
    output, record = trained
    again = replace(record, held_out_loss=record.held_out_loss * factor)
    folder = Path(shutil.copytree(output / "roberta-nano", tmp_path / "roberta-nano"))
    (folder / RECORD).write_text(json.dumps(asdict(again)))
    (gate,) = rebuilt_gates(config(tmp_path), record, record.held_out_loss)
    assert (gate.value, gate.passed) == (pytest.approx(factor), passed)


def test_a_model_of_another_world_is_not_measured(trained: tuple[Path, PretrainRecord]):
    output, _ = trained
    cfg = config(output)
    cfg.model.path = str(output / "roberta-nano")
    other = replace(source(), vocabulary=[*WORDS, "wug"])
    with pytest.raises(ValueError, match="trained in another world: it does not know 1 words of this one, such as wug"):
        check_shipped(cfg, other)


def further_gates(cfg: object) -> list[Gate]:
    return [Gate("further", 1.0, least=2.0)]


@pytest.mark.parametrize(("value", "passed"), [(0.9, True), (0.8999, False), (1.1, False), (float("nan"), False)])
def test_a_gate_holds_within_its_limits(value: float, passed: bool):
    assert Gate("x", value, least=0.9, most=1.0).passed is passed


@pytest.mark.parametrize(("value", "passed"), [(0.9, False), (0.95, True), (1.0, False), (float("nan"), False)])
def test_a_strict_gate_holds_between_its_limits_and_says_so(value: float, passed: bool):
    assert Gate("x", value, least=0.9, most=1.0, strict=True).passed is passed
    said = [Gate("x", value, *limits).limits for limits in ((0.9, 1.0), (None, 1.0), (None, None), (0.9, None, True))]
    assert said == [">= 0.9, <= 1", "<= 1", "-", "> 0.9"]


@pytest.fixture
def copied(trained: tuple[Path, PretrainRecord], tmp_path: Path) -> DictConfig:
    """A config whose output is a copy of the trained model, and which loads from there."""
    shutil.copytree(trained[0] / "roberta-nano", tmp_path / "roberta-nano")
    cfg = config(tmp_path, gates=[])
    cfg.model.path = str(tmp_path / "roberta-nano")
    return cfg


def loaders(cfg: DictConfig) -> list[Callable[[], object]]:
    """Everything that reads a finished model."""
    return [lambda: load_model(cfg.model, "classification", 2, ["no", "yes"]), lambda: load_tokenizer(cfg.model),
            lambda: check_shipped(cfg, source())]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_an_altered_or_missing_file_is_refused(name: str, copied: DictConfig, trained: tuple[Path, PretrainRecord]):
    assert name in trained[1].files
    file = Path(copied.model.path) / name
    for load in loaders(copied):
        load()
    file.write_bytes(file.read_bytes()[:-1] + b" ")
    for load in [*loaders(copied), lambda: pretraining.run(copied, source())]:
        with pytest.raises(ValueError, match=rf"{name} has sha256 .*it was altered"):
            load()
    file.unlink()
    for load in [*loaders(copied), lambda: pretraining.run(copied, source())]:
        with pytest.raises(FileNotFoundError, match=f"no {name} in"):
            load()


@pytest.mark.parametrize("name", ["added_tokens.json", "other.safetensors"])
def test_a_file_that_the_record_does_not_know_is_refused(name: str, copied: DictConfig):
    (Path(copied.model.path) / name).write_text("{}")
    for load in [*loaders(copied), lambda: pretraining.run(copied, source())]:
        with pytest.raises(ValueError, match=f"{name} is not among the files of record.json"):
            load()


def test_a_pinned_nano_model_must_have_its_record_and_another_folder_need_not(copied: DictConfig):
    (Path(copied.model.path) / "record.json").unlink()
    for load in loaders(copied):
        load()
    copied.model.pinned = copied.model.path
    for load in loaders(copied):
        with pytest.raises(FileNotFoundError, match=r"no record\.json in"):
            load()


def test_the_worlds_text_can_be_trained_on():
    world = pretraining.world_source(OmegaConf.load(CONF / "world" / "default.yaml"), None)  # type: ignore[arg-type]
    for model in MODELS:
        cfg = config("", model)
        cfg.model.config.vocab_size = OmegaConf.load(CONF / "model" / f"{model}.yaml").config.vocab_size
        made = pretraining.make_language(cfg, world)
        documents = list(itertools.islice(world.documents(1, False, world.stages - 1), 200))
        for ids in made.sequences(documents, 1):
            assert made.tokenizer.unk_token_id not in ids
    for asked in world.probes(5).values():
        for probe in asked:
            assert probe.text.count("<mask>") == 1
            assert probe.answer in probe.candidates
