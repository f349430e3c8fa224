"""What load_model accepts as a base model, and how it refuses the rest."""

import hashlib
from pathlib import Path

import pytest
import torch

from experiments.models import files as models
from experiments.models import load as loading
from tests.experiments.models.made import MINILM_SHA256, SHAPES, load, model_config, save_base

for shape in SHAPES.values():
    shape.update(vocab_size=11, **({"eos_token_id": 10} if "n_embd" in shape else {"num_attention_heads": 2}))


@pytest.mark.parametrize("kind", SHAPES)
def test_every_base_tensor_is_the_files(kind: str, tmp_path: Path):
    saved = save_base(tmp_path, kind)
    model = load(model_config("local", path=str(tmp_path), attention="eager"))
    loaded = model.base_model.state_dict()
    assert loaded  # RoBERTa's and DeBERTa's classifiers have no pooler in the base
    for key, value in loaded.items():
        torch.testing.assert_close(value, saved[key], rtol=0, atol=0)
    assert model.num_labels == 2
    assert model.config.id2label == {0: "no", 1: "yes"}


def test_a_language_model_needs_no_new_tensor(tmp_path: Path):
    save_base(tmp_path, "gpt2")
    model = load(model_config("local", path=str(tmp_path)), "causal_lm")
    assert model.lm_head.weight is model.transformer.wte.weight


@pytest.mark.parametrize("kind", ["bert", "roberta", "deberta-v2"])
def test_an_encoder_is_no_language_model_for_a_causal_task(kind: str, tmp_path: Path):
    save_base(tmp_path, kind)
    message = rf"is an encoder \({kind}\), which sees .*; decoders: gpt2, gpt2-large, .*gpt2-nano"
    for init in ("pretrained", "random"):
        cfg = model_config("local", path=str(tmp_path), init=init, attention="eager")
        with pytest.raises(ValueError, match=message):
            load(cfg, "causal_lm")


@pytest.mark.parametrize(
    ("kind", "task_kind", "tensor"),
    [
        ("bert", "classification", "layer.1.attention.self.query.weight"),
        ("roberta", "regression", "embeddings.word_embeddings.weight"),
        ("deberta-v2", "classification", "layer.0.output.LayerNorm.bias"),
        ("gpt2", "classification", "h.1.attn.c_attn.weight"),
        ("gpt2", "causal_lm", "wte.weight"),
    ],
)
def test_a_missing_base_tensor_is_named(kind: str, task_kind: str, tensor: str, tmp_path: Path):
    save_base(tmp_path, kind, drop=tensor)
    with pytest.raises(ValueError, match=rf"lacks \d tensors of the base model.*{tensor}"):
        load(model_config("local", path=str(tmp_path), attention="eager"), task_kind)


def test_a_base_tensor_of_another_shape_is_named(tmp_path: Path):
    save_base(tmp_path, "bert")
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"vocab_size": 11', '"vocab_size": 12'))
    with pytest.raises(ValueError, match=r"other shapes: bert\.embeddings\.word_embeddings\.weight"):
        load(model_config("local", path=str(tmp_path)))


@pytest.mark.parametrize("kind", ["bert", "deberta-v2"])
def test_a_new_pooler_may_train_but_not_freeze(kind: str, tmp_path: Path):
    save_base(tmp_path, kind, drop="pooler")
    load(model_config("local", path=str(tmp_path), attention="eager"))
    with pytest.raises(ValueError, match=r"lacks 2 tensors of the base.*pooler\.dense\.bias"):
        load(model_config("local", path=str(tmp_path), attention="eager", pooler="frozen"))


def test_the_head_follows_the_seed(tmp_path: Path):
    save_base(tmp_path, "roberta")
    heads = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        heads.append(load(model_config("local", path=str(tmp_path))).classifier.dense.weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_loading_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    save_base(tmp_path, "roberta")
    capfd.readouterr()
    load(model_config("local", path=str(tmp_path)))
    assert capfd.readouterr() == ("", "")


def test_a_pickle_is_read_only_when_asked_for(tmp_path: Path):
    saved = save_base(tmp_path, "bert", file="pytorch_model.bin")
    with pytest.raises(
        FileNotFoundError, match=r"no model\.safetensors in .*only with model\.weights=pickle"
    ):
        load(model_config("local", path=str(tmp_path)))
    model = load(model_config("local", path=str(tmp_path), weights="pickle"))
    torch.testing.assert_close(
        model.bert.embeddings.word_embeddings.weight, saved["embeddings.word_embeddings.weight"]
    )


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path):
    save_base(tmp_path, "bert")
    torch.save({"code": pytest.fail}, tmp_path / "pytorch_model.bin")
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        load(model_config("local", path=str(tmp_path), weights="pickle"))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("init", "randm", r"model\.init 'randm' is not one of pretrained, random; did you mean 'random'\?"),
        (
            "weights",
            "safetensor",
            r"model\.weights 'safetensor' is not one of .*did you mean 'safetensors'\?",
        ),
        ("pooler", "frozn", r"model\.pooler 'frozn' is not one of frozen, train; did you mean 'frozen'\?"),
        ("attention", "flash", r"model\.attention 'flash' is not one of eager, sdpa"),
    ],
)
def test_an_unknown_value_names_the_allowed_ones(key: str, value: str, message: str):
    with pytest.raises(ValueError, match=message):
        load(model_config("minilm", **{key: value}))


def test_an_unknown_kind_names_the_allowed_ones():
    with pytest.raises(ValueError, match=r"task kind 'causal' is not one of .*did you mean 'causal_lm'\?"):
        loading.empty_model(model_config("minilm"), "causal", 2)


def test_a_wrong_checksum_shows_both():
    with pytest.raises(ValueError, match=rf"has sha256 {MINILM_SHA256}, model\.checksum is 0a0a"):
        load(model_config("minilm", checksum="0a0a"))
    with pytest.raises(ValueError, match=r"model\.checksum is 0a0a"):
        models.model_identity(model_config("minilm", checksum="0a0a"))


def test_another_architecture_than_declared_names_the_field():
    with pytest.raises(ValueError, match=r"config\.json has num_hidden_layers 6, model\.config.* is 7"):
        load(model_config("minilm", **{"config.num_hidden_layers": 7}))


def test_minilm_loads_from_its_package():
    cfg = model_config("minilm")
    model, tokenizer = load(cfg), loading.load_tokenizer(cfg)
    assert model.num_parameters() == 22_713_216 + 770  # the encoder as published, and 2 x (384 + 1)
    assert model.dtype == torch.float32
    rows = tokenizer(["LoRA adds two small matrices.", "Yes."], padding=True, return_tensors="pt")
    assert model(**rows).logits.shape == (2, 2)
    assert models.model_identity(cfg)["files"]["model.safetensors"] == MINILM_SHA256


def test_another_path_voids_what_was_pinned(tmp_path: Path):
    folder = tmp_path / "tiny-bert"
    folder.mkdir()
    save_base(folder, "bert")
    cfg = model_config("minilm", path=str(folder))
    assert (cfg.name, cfg.package, cfg.checksum) == ("tiny-bert", None, None)
    assert load(cfg).config.hidden_size == 8
    other = model_config("roberta-base", path="some/where", revision="abc")
    assert (other.name, other.revision) == ("where", "abc")


def test_a_local_copy_keeps_the_models_name(tmp_path: Path):
    assert model_config("roberta-base", path=str(tmp_path / "roberta-base")).name == "roberta-base"


def test_random_weights_need_no_files():
    small = {f"config.{key}": value for key, value in SHAPES["roberta"].items() if key != "model_type"}
    cfg = model_config("roberta-base", init="random", **small)
    torch.manual_seed(0)
    first = load(cfg).roberta.embeddings.word_embeddings.weight
    torch.manual_seed(0)
    assert torch.equal(first, load(cfg).roberta.embeddings.word_embeddings.weight)
    assert models.model_identity(cfg)["config"]["hidden_size"] == 8


def test_gpt2_classifies_padded_rows(tmp_path: Path):
    """The score is read at the last token before the padding, so padding does not change it."""
    save_base(tmp_path, "gpt2")
    model = load(model_config("local", path=str(tmp_path)))
    alone = model(input_ids=torch.tensor([[1, 2, 3]])).logits
    mask = torch.tensor([[1, 1, 1, 0, 0]])
    padded = model(input_ids=torch.tensor([[1, 2, 3, 10, 10]]), attention_mask=mask).logits
    torch.testing.assert_close(alone, padded)


def test_gpt2s_tokenizer_pads_with_end_of_text(tmp_path: Path):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({"a": 0, "<|endoftext|>": 1}, unk_token="a"))
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<|endoftext|>").save_pretrained(tmp_path)
    save_base(tmp_path, "gpt2")
    assert loading.load_tokenizer(model_config("local", path=str(tmp_path))).pad_token == "<|endoftext|>"


def test_classifier_dropout_reaches_the_head():
    small = {f"config.{key}": value for key, value in SHAPES["deberta-v2"].items() if key != "model_type"}
    cfg = model_config("deberta-v2-xxlarge", init="random", classifier_dropout=0.2, **small)
    assert load(cfg).dropout.p == 0.2


@pytest.mark.parametrize(("model", "shape"), [("roberta-base", "roberta"), ("deberta-v2-xxlarge", "deberta-v2"),
                                              ("gpt2", "gpt2")])
def test_dropout_reaches_every_place_of_the_body_and_the_head(model: str, shape: str):
    small = {f"config.{key}": value for key, value in SHAPES[shape].items() if key != "model_type"}
    rates = {part.p if hasattr(part, "p") else part.drop_prob for part in load(
        model_config(model, init="random", dropout=0.25, classifier_dropout=None, **small)).modules()
        if "Dropout" in type(part).__name__}
    assert rates - {0.0} == {0.25}  # DeBERTa's pooler has a rate of its own, 0


@pytest.mark.parametrize("key", ["dropout", "classifier_dropout"])
def test_a_dropout_that_is_no_rate_is_named(key: str):
    with pytest.raises(ValueError, match=rf"model\.{key} 1\.5 is not null or a number from 0 and below 1"):
        models.model_identity(model_config("roberta-base", **{key: 1.5}))


def test_identity_follows_what_can_change_a_result(tmp_path: Path):
    save_base(tmp_path, "bert")
    cfg = model_config("local", path=str(tmp_path))
    identity = models.model_identity(cfg)
    digest = hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    assert identity["files"]["model.safetensors"] == digest
    assert models.model_identity(model_config("local", path=str(tmp_path), attention="eager")) == identity
    assert models.model_identity(model_config("local", path=str(tmp_path), pooler="frozen")) != identity
    save_base(tmp_path, "bert")
    assert models.model_identity(cfg) != identity
    hub = models.model_identity(model_config("roberta-base"))
    assert hub["path"] == "FacebookAI/roberta-base"
    assert hub["revision"] == "e2da8e2f811d1448a5b465c236feacd80ffbac7b"
