"""Pre-training: what is masked, what is learnt, that it resumes, and what is kept and checked of a model."""

import itertools
import json
import math
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file
from transformers import AutoTokenizer, get_linear_schedule_with_warmup

from experiments import pretrain, sweep
from experiments.cloze import causal_answers, held_out_loss, log_likelihoods, masked_answers
from experiments.language import IGNORED, Batch, Language, Stream, masked, masking_rates
from experiments.models import load_model, load_tokenizer
from experiments.pretrained import Gate, PretrainRecord, load_language_model, read_record
from experiments.pretraining import Pretraining, begin_positions, fastest, new_model, trapezoid
from experiments.shipped import check_shipped
from experiments.tokenizer import build_tokenizer
from tests.experiments.tiny_world import SHAPES, WORDS, Document, Probe, config, source

ARCHITECTURES = {"roberta": "roberta-nano", "deberta-v2": "deberta-nano", "gpt2": "gpt2-nano"}
MODELS = list(SHAPES)


def language(model: str = "roberta-nano") -> Language:
    return pretrain.make_language(config("", model), source())


def fresh(model: str, seed: int = 0):
    from transformers import AutoConfig

    torch.manual_seed(seed)
    return new_model(AutoConfig.for_model(**pretrain.run_config(config("", model))["model"]["config"]), "eager", 0.0)


@pytest.fixture(scope="module", autouse=True)
def small_corpus() -> Iterator[None]:
    """A corpus that is hashed in no time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain, "CORPUS_BYTES", 10_000)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PretrainRecord]:
    """The output folder of a finished roberta-nano, and its record."""
    output = tmp_path_factory.mktemp("output")
    return output, pretrain.run(config(output), source())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_saved_tokenizer_gives_words_back(architecture: str, tmp_path: Path):
    build_tokenizer(WORDS, architecture, 16).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    text = "is the bird red ? | yes ."
    assert tokenizer.is_fast
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    assert tokenizer("The BIRD is red.")["input_ids"] == tokenizer("the bird is red .")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(tokenizer("a wug", add_special_tokens=False)["input_ids"]) == [
        "a", tokenizer.unk_token]
    assert len(tokenizer("the " * 99, truncation=True)["input_ids"]) == 16


@pytest.mark.parametrize(("architecture", "ids", "pair"), [
    ("roberta", {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}, "<s> a bird </s> </s> is <mask> </s>"),
    ("deberta-v2", {"[PAD]": 0}, "[CLS] a bird [SEP] is [MASK] [SEP]"),
    ("gpt2", {"<|endoftext|>": 0}, "a bird is"),
])
def test_special_tokens_stand_where_the_architecture_has_them(architecture: str, ids: dict[str, int], pair: str):
    tokenizer = build_tokenizer(WORDS, architecture, 16)
    encoded = tokenizer("a bird", f"is {tokenizer.mask_token or ''}")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(encoded) == pair.split()
    assert {token: tokenizer.convert_tokens_to_ids(token) for token in ids} == ids
    cut = tokenizer("a bird", "is red " * 20, truncation="longest_first", max_length=12)["input_ids"]
    assert len(cut) == 12


@pytest.mark.parametrize(("words", "message"), [
    (["bird", "bird"], "has bird twice"), (["Bird"], "'Bird' .*not stay one token"), (["don't"], "not stay one token")])
def test_a_vocabulary_that_cannot_be_read_back_is_refused(words: list[str], message: str):
    with pytest.raises(ValueError, match=message):
        build_tokenizer(words, "roberta", 16)


def test_an_unknown_architecture_names_the_nearest():
    with pytest.raises(ValueError, match=r"'roberto' is not one of .*did you mean 'roberta'"):
        build_tokenizer(WORDS, "roberto", 16)


@pytest.mark.parametrize("architecture", ["roberta", "deberta-v2"])
def test_words_are_masked_by_kind_and_special_tokens_never(architecture: str):
    tokenizer = build_tokenizer(WORDS, architecture, 16)
    shares = {"content": 0.25, "function": 0.08, "answer": 0.5}
    rates = masking_rates(tokenizer, source().function_words, source().answers, shares)
    ids = torch.arange(len(tokenizer)).repeat(20_000, 1)
    words = torch.arange(5, len(tokenizer))
    inputs, targets = masked(ids, rates, tokenizer.mask_token_id, words, torch.Generator().manual_seed(0))
    shares = (targets != IGNORED).float().mean(0)
    for word, i in tokenizer.get_vocab().items():
        grammatical, answer = word in {"the", "is", "a", ".", "?", "|"}, word in {"yes", "no"}
        kind = "function" if grammatical else "answer" if answer else "content"
        expected = 0.0 if i < 5 else {"content": 0.25, "function": 0.08, "answer": 0.5}[kind]
        assert shares[i].item() == pytest.approx(expected, abs=0.015), word
    assert (inputs[:, :5] == ids[:, :5]).all()
    assert (inputs[targets == IGNORED] == ids[targets == IGNORED]).all()
    chosen = targets != IGNORED
    hidden = inputs[chosen] == tokenizer.mask_token_id
    assert hidden.float().mean().item() == pytest.approx(0.8, abs=0.01)
    kept = inputs[chosen] == targets[chosen]
    assert kept.float().mean().item() == pytest.approx(0.1 + 0.1 / len(words), abs=0.01)
    assert inputs[chosen][~hidden & ~kept].min() >= 5


def test_half_of_the_pairs_are_encoded_as_pairs():
    made = language()
    documents = [Document("question", ("is the bird red ?", "yes ."))] * 400
    forms = {made.tokenizer.decode(ids) for ids in made.sequences(documents, 0)}
    assert forms == {"<s> is the bird red ? yes . </s>", "<s> is the bird red ? </s> </s> yes . </s>"}
    pairs = sum(ids.count(2) == 3 for ids in made.sequences(documents, 0))
    assert 150 < pairs < 250


def test_a_causal_model_reads_an_end_after_each_segment():
    made = language("gpt2-nano")
    documents = [Document("question", ("is the bird red ?", "yes .")), Document("facts", ("a fish .",))] * 9
    end = "<|endoftext|>"
    texts = [made.tokenizer.decode(ids) for ids in made.sequences(documents, 0)]
    assert set(texts[::2]) == {f"{end} is the bird red ? {end} yes . {end}", f"is the bird red ? {end} yes . {end}"}
    assert set(texts[1::2]) == {f"{end} a fish . {end}", f"a fish . {end}"}


@pytest.mark.parametrize("model", ["roberta-nano", "gpt2-nano"])
def test_a_batch_is_a_function_of_seed_and_step(model: str):
    one, two = Stream(language(model), 4, seed=3), Stream(language(model), 4, seed=3)
    in_order = [one.batch(step, stage=step // 20) for step in range(40)]
    for step in (35, 2):
        assert torch.equal(two.batch(step, step // 20).ids, in_order[step].ids)
        assert torch.equal(two.batch(step, step // 20).targets, in_order[step].targets)
    assert not torch.equal(in_order[0].ids, Stream(language(model), 4, seed=4).batch(0, 0).ids)
    assert not torch.equal(in_order[0].ids, two.batch(0, 1).ids)


def test_sinusoidal_positions_are_the_transformers_scaled_to_the_other_weights():
    model = fresh("roberta-nano")
    begin_positions(model, "sinusoidal")
    table = model.base_model.embeddings.position_embeddings.weight
    width, scale = table.shape[1], model.config.initializer_range * math.sqrt(2)
    for place, column in itertools.product((0, 2, 7, 200), range(width)):
        angle = place / 10_000 ** (column // 2 * 2 / width)
        expected = scale * (math.cos(angle) if column % 2 else math.sin(angle))
        assert table[place, column].item() == pytest.approx(expected, abs=1e-5)
    assert not table[model.config.pad_token_id].any()
    before = fresh("roberta-nano").state_dict()
    others = [key for key, value in model.state_dict().items() if not torch.equal(value, before[key])]
    assert others == ["roberta.embeddings.position_embeddings.weight"]


def test_positions_of_a_model_without_a_table_of_them_are_refused():
    for model, place in (("deberta-nano", "deberta-v2"), ("gpt2-nano", "gpt2")):
        with pytest.raises(ValueError, match=f"positions=sinusoidal: a {place} model has no table"):
            begin_positions(fresh(model), "sinusoidal")


def test_the_learning_rate_rises_stays_and_falls():
    shares = [trapezoid(done, 0.1, 0.4) for done in (0, 0.05, 0.1, 0.3, 0.6, 0.8, 1)]
    assert shares == pytest.approx([0, 0.5, 1, 1, 1, 0.5, 0])
    linear = [trapezoid(done / 10, 0.2, 0.8) for done in range(11)]  # transformers' linear schedule with warm-up
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = get_linear_schedule_with_warmup(optimizer, 2, 10).lr_lambdas[0]
    assert linear == pytest.approx([theirs(step) for step in range(11)])


def test_a_stage_begins_where_its_share_of_the_budget_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple[int, int]] = []
    batch = Stream.batch

    def noted(self: Stream, step: int, stage: int) -> Batch:
        asked.append((step, stage))
        return batch(self, step, stage)

    monkeypatch.setattr(Stream, "batch", noted)
    record = pretrain.run(config(tmp_path, stages=[0.25, 0.5], evaluate_every=100_000), source())
    counts = [sum(stage == number for _, stage in asked) for number in range(3)]
    assert [stage for _, stage in asked] == sorted(stage for _, stage in asked)
    assert sum(counts) == record.steps
    assert [count / record.steps for count in counts] == pytest.approx([0.25, 0.25, 0.5], abs=0.05)


@pytest.mark.parametrize("model", MODELS)
def test_the_held_out_loss_is_transformers_own(model: str):
    made, network = language(model), fresh(model).eval()
    batches = made.held_out(20, 8)
    total, count = 0.0, 0
    for batch in batches:
        labels = torch.where(batch.ids == made.pad, IGNORED, batch.ids) if made.causal else batch.targets
        if made.causal:  # the padding is end-of-text, which must be learnt where it is real
            real = (batch.targets != IGNORED).sum(1) + 1
            labels = torch.where(torch.arange(labels.shape[1]) < real[:, None], batch.ids, IGNORED)
        theirs = network(input_ids=batch.ids, attention_mask=batch.mask, labels=labels).loss
        targets = int((batch.targets != IGNORED).sum())
        total, count = total + theirs.item() * targets, count + targets
    assert held_out_loss(network, batches) == pytest.approx(total / count, rel=1e-5)


def test_a_causal_answer_is_the_likeliest_text():
    made, network = language("gpt2-nano"), fresh("gpt2-nano", seed=5).eval()
    probes = [Probe("the <mask> is red .", "bird", ("bird", "fish", "tree")), Probe("<mask> .", "yes", ("yes", "no"))]
    expected = []
    for probe in probes:
        scores = []
        for word in probe.candidates:
            ids = [0, *(made.tokenizer.convert_tokens_to_ids(token) for token in
                        probe.text.replace("<mask>", word).split())]
            table = network(torch.tensor([ids])).logits[0].log_softmax(-1)
            scores.append(sum(table[place, ids[place + 1]].item() for place in range(len(ids) - 1)))
        text = probe.text.replace("<mask>", probe.candidates[0])
        assert log_likelihoods(network, made, [text, "a bird is a bird ."])[0] == pytest.approx(scores[0], rel=1e-4)
        expected.append(probe.candidates[scores.index(max(scores))])
    assert causal_answers(network, made, probes) == expected


@pytest.mark.parametrize("model", ["roberta-nano", "deberta-nano"])
def test_a_masked_answer_is_the_highest_logit_among_the_candidates(model: str):
    made, network = language(model), fresh(model, seed=5).eval()
    probes = [Probe("the <mask> is red .", "bird", ("bird", "fish", "tree")), Probe("a <mask>", "no", ("yes", "no"))]
    expected = []
    for probe in probes:
        ids = made.tokenizer(probe.text.replace("<mask>", made.tokenizer.mask_token), return_tensors="pt")["input_ids"]
        logits = network(ids).logits[ids == made.tokenizer.mask_token_id][0]
        words = made.tokenizer.convert_tokens_to_ids(list(probe.candidates))
        expected.append(probe.candidates[logits[words].argmax()])
    assert masked_answers(network, made, probes) == expected
    with pytest.raises(ValueError, match="candidate 'wug' of a probe is not a word"):
        masked_answers(network, made, [Probe("a <mask>", "wug", ("wug", "no"))])


@pytest.mark.parametrize("model", MODELS)
def test_training_lowers_the_held_out_loss(model: str, tmp_path: Path):
    before = held_out_loss(fresh(model), language(model).held_out(24, 8))
    record = pretrain.run(config(tmp_path, model, tokens=8000), source())
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
            pretrain.run(cfg, source())


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
    pretrain.run(config(tmp_path / "whole", model, **changes), source())
    in_one = steps.copy()
    steps.clear()
    cfg = config(tmp_path / "killed", model, **changes)
    kill(cfg, 2400)  # the checkpoint is of the step that passed 2000
    before = steps.copy()
    steps.clear()
    record = pretrain.run(cfg, source())
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


def test_a_killed_overwriting_goes_on_where_it_was_and_the_next_one_starts_anew(
    tmp_path: Path, steps: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
):
    cfg = config(tmp_path, tokens=3000, overwrite=True)
    pretrain.run(cfg, source())
    kill(cfg, 2400)
    steps.clear()
    with monkeypatch.context() as patch:  # killed a second time, as the model is in place
        patch.setattr("experiments.checkpoint.remove_checkpoint", lambda _: None)
        pretrain.run(cfg, source())
    assert steps[0][0] > 0
    steps.clear()
    assert pretrain.run(cfg, source()).steps == len(steps)
    assert steps[0][0] == 0


def test_a_finished_run_is_not_computed_again(trained: tuple[Path, PretrainRecord], monkeypatch: pytest.MonkeyPatch):
    output, record = trained
    monkeypatch.setattr(pretrain, "_train", lambda *_: pytest.fail("trained again"))
    assert pretrain.run(config(output, threads=2, checkpoint_every=5), source()) == record
    with pytest.raises(ValueError, match=r"holds a model of tokens=4000 \(here 5000\): overwrite=true replaces it"):
        pretrain.run(config(output, tokens=5000), source())
    monkeypatch.setattr(pretrain, "corpus_hash", lambda *_: "0" * 64)
    with pytest.raises(ValueError, match="holds a model of another corpus"):
        pretrain.run(config(output), source())


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
    pretrain.run(cfg, source())
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
    cfg = config(output, check=True, gates=["tests.experiments.test_pretrain.further_gates"])
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
    for load in [*loaders(copied), lambda: pretrain.run(copied, source())]:
        with pytest.raises(ValueError, match=rf"{name} has sha256 .*it was altered"):
            load()
    file.unlink()
    for load in [*loaders(copied), lambda: pretrain.run(copied, source())]:
        with pytest.raises(FileNotFoundError, match=f"no {name} in"):
            load()


def test_a_pinned_nano_model_must_have_its_record_and_another_folder_need_not(copied: DictConfig):
    (Path(copied.model.path) / "record.json").unlink()
    for load in loaders(copied):
        load()
    copied.model.pinned = copied.model.path
    for load in loaders(copied):
        with pytest.raises(FileNotFoundError, match=r"no record\.json in"):
            load()


def test_stated_arithmetic_is_not_measured_and_auto_takes_one_that_was():
    from transformers import AutoConfig

    cfg = config("")
    made = AutoConfig.for_model(**pretrain.run_config(cfg)["model"]["config"])
    assert fastest(cfg, made, language()) == ("fp32", "eager", {})
    cfg.precision = "auto"
    precision, attention, measured = fastest(cfg, made, language())
    assert list(measured) == ["fp32 eager", "bf16 eager"]
    assert f"{precision} {attention}" in measured


@pytest.mark.parametrize(("changes", "message"), [
    ({"tokens": 0}, r"tokens 0 is not a whole number above 0"),
    ({"batch_size": "null"}, r"batch_size None is not a whole number above 0"),
    ({"threads": 0}, r"threads 0 is not a whole number above 0"),
    ({"threads": "auto"}, r"threads auto is not a whole number above 0"),
    ({"precision": "fp16"}, r"precision 'fp16' is not one of auto, bf16, fp32"),
    ({"attention": "flash"}, r"attention 'flash' is not one of"),
    ({"positions": "rotary"}, r"positions 'rotary' is not one of sinusoidal"),
    ({"dropout": 2}, r"dropout 2 is not a number in 0\.\.1"),
    ({"masking.content": -1}, r"masking\.content -1 is not a number in 0\.\.1"),
    ({"learning_rate": 0}, r"learning_rate 0 is not a number above 0"),
    ({"decay_ratio": 1.5}, r"decay_ratio 1\.5 is not a number in 0\.\.1"),
    ({"seed": -1}, r"seed -1 is not a whole number from 0"),
])
def test_a_bad_value_is_named(changes: dict[str, object], message: str, tmp_path: Path):
    cfg = config(tmp_path)
    for key, value in changes.items():
        cfg.merge_with_dotlist([f"{key}={value}"])
    with pytest.raises(ValueError, match=message):
        pretrain.check_config(cfg)


@pytest.mark.parametrize(("changes", "cores", "limit", "threads"), [
    ({}, 2, None, 1), ({"threads": 2}, 2, None, 2), ({}, 2, 0, 2), ({"threads": 1}, 2, 0, 1)])
def test_threads_are_those_stated_or_by_size_and_cores_and_are_recorded(
    changes: dict[str, object], cores: int, limit: int | None, threads: int, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch
):
    """`limit`: the parameters from which on a model is large."""
    monkeypatch.setattr("joblib.cpu_count", lambda: cores)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if limit is not None:
        monkeypatch.setattr("experiments.hardware.ONE_THREAD", limit)
    used: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", used.append)
    cfg = config(tmp_path, tokens=200, evaluate_every=1000, gates=[], **changes)
    pretrain.check_config(cfg)
    record = pretrain.run(cfg, source())
    assert (record.threads, used) == (threads, [threads])
    cfg.model.path = str(tmp_path / "roberta-nano")
    check_shipped(cfg, source())
    assert used == [threads, threads]


@pytest.mark.parametrize("model", MODELS)
def test_a_models_size_is_known_before_it_is_made(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []
    monkeypatch.setattr(sweep, "take_threads", lambda threads, parameters: asked.append(parameters) or 1)
    record = pretrain.run(config(tmp_path, model, tokens=200, evaluate_every=1000), source())
    assert asked == [record.parameters]


def test_an_unknown_curriculum_names_the_nearest():
    world: Any = OmegaConf.load(pretrain.CONF / "world" / "default.yaml")
    with pytest.raises(ValueError, match=r"'lookup' is not one of lookups, mentions; did you mean 'lookups'"):
        pretrain.world_source(world, "lookup")


@pytest.mark.parametrize("stages", [[0.5], [0.6, 0.4], [0.5, 1.5], [0.2, 0.4, 0.6]])
def test_stages_that_the_corpus_does_not_have_are_named(stages: list[float], tmp_path: Path):
    with pytest.raises(ValueError, match=r"stages \[.*\] is not a list of 2 shares .* the corpus has 3 stages"):
        pretrain.run(config(tmp_path, stages=stages), source())


def test_a_model_that_is_not_nano_names_those_that_are(tmp_path: Path):
    cfg = config(tmp_path)
    cfg.merge_with_dotlist(["model.name=local", "model.config=null", "tokens=null"])
    with pytest.raises(ValueError, match=r"model 'local' is no nano model.*gpt2-nano.*roberta-nano"):
        pretrain.check_config(cfg)


def test_another_vocabulary_size_says_which_it_must_be(tmp_path: Path):
    cfg = config(tmp_path)
    cfg.model.config.vocab_size = 32
    with pytest.raises(ValueError, match=r"vocab_size is 32, the 21 words .* are 24"):
        pretrain.run(cfg, source())


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"output .*file/models cannot be written"):
        pretrain.run(config(tmp_path / "file" / "models"), source())


def test_the_command_prints_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    if not (pretrain.CONF / "world" / "default.yaml").exists():
        pytest.skip("needs conf/world")
    monkeypatch.setattr(pretrain, "world_source", lambda world, curriculum: source())
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


def test_the_worlds_text_can_be_trained_on():
    world = pretrain.world_source(OmegaConf.load(pretrain.CONF / "world" / "default.yaml"), None)  # type: ignore[arg-type]
    for model in MODELS:
        cfg = config("", model)
        cfg.model.config.vocab_size = OmegaConf.load(pretrain.CONF / "model" / f"{model}.yaml").config.vocab_size
        made = pretrain.make_language(cfg, world)
        documents = list(itertools.islice(world.documents(1, False, world.stages - 1), 200))
        for ids in made.sequences(documents, 1):
            assert made.tokenizer.unk_token_id not in ids
    for asked in world.probes(5).values():
        for probe in asked:
            assert probe.text.count("<mask>") == 1
            assert probe.answer in probe.candidates
