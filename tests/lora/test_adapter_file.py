"""Adapter files: what is saved predicts the same when loaded, and anything that does not fit is an error."""

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

import lora
from lora.adapter_file import (
    adapter_tensors,
    fingerprint,
    load_adapter,
    load_tensors,
    read_adapter,
    save_adapter,
)
from tests.conftest import ROOT
from tests.lora import adapted_models as tiny

BASE = {"name": "tiny", "revision": "0"}
METHODS = {"lora": tiny.method(), "lora-biases": tiny.method(bias="all", layernorm=True),
           "bitfit": tiny.method("bitfit"), "ft": tiny.method("ft"),
           "lora-ranks": tiny.method(rank={"q": 1, "v": 3}, alpha={"q": 2, "v": 5})}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A LoRA adapter of a tiny BERT on disk."""
    return save_adapter(tiny.adapted("bert", tiny.method()), tmp_path / "saved", base=BASE)


GLOB = tiny.method(targets=["*.dense"])  # on BERT this names the pooler's matrix too, which trains whole


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
@pytest.mark.parametrize("word", METHODS)
def test_a_loaded_adapter_predicts_as_the_saved_one(kind: str, word: str, tmp_path: Path):
    model = tiny.adapted(kind, METHODS[word])
    wanted = tiny.logits(model)
    save_adapter(model, tmp_path, base=BASE)
    fresh = tiny.model(kind)
    assert not torch.allclose(tiny.logits(fresh), wanted)
    if word == "ft":
        torch.manual_seed(5)
        fresh = tiny.model(kind, seed=5)  # nothing of the base is left, so any base will do
    groups = load_adapter(fresh, tmp_path)
    assert torch.equal(tiny.logits(fresh), wanted)
    assert {id(p) for group in groups for p in group.parameters.values()} == {
        id(p) for p in fresh.parameters() if p.requires_grad}


def test_tensors_have_the_names_of_the_plain_model(saved: Path):
    tensors = load_file(saved / "adapter.safetensors")
    layers = [f"bert.encoder.layer.{i}.attention.self" for i in range(2)]
    updates = {f"{layer}.{module}.{role}.{letter}" for layer in layers
               for module, role in (("query", "q"), ("value", "v")) for letter in "AB"}
    head = {"classifier.weight", "classifier.bias", "bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    assert set(tensors) == updates | head


def test_the_description_says_where_each_update_lives(tmp_path: Path):
    model = tiny.adapted("gpt2", tiny.method(rank={"q": 2, "v": 4}, alpha=6))
    save_adapter(model, tmp_path, base=BASE, extra={"a": 1})
    description, tensors = read_adapter(tmp_path)
    site = description["sites"][1]
    assert site == {"module": "transformer.h.0.attn.c_attn", "role": "v", "rank": 4, "scaling": 1.5,
                    "groups": 1, "parts": 3, "index": 2}
    assert tensors[f"{site['module']}.{site['role']}.A"].shape == (4, 16)
    assert description["merged"] is False
    assert description["extra"] == {"a": 1}
    assert description["architecture"] == "gpt2"
    assert description["base"]["name"] == "tiny"
    assert description["head"] == ["score.weight"]


@pytest.mark.parametrize(("kind", "method"), [("gpt2", tiny.method(bias="sites")), ("bert", GLOB)])
def test_saving_while_merged_writes_the_unmerged_state(kind: str, method: lora.Method, tmp_path: Path):
    model = tiny.adapted(kind, method)
    save_adapter(model, tmp_path / "before", base=BASE)
    lora.merge(model)
    save_adapter(model, tmp_path / "merged", base=BASE)
    for name in ("adapter.json", "adapter.safetensors"):
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / "before" / name).read_bytes()
    load_adapter(fresh := tiny.model(kind), tmp_path / "merged")
    assert_close(tiny.logits(fresh), tiny.logits(model), rtol=1e-5, atol=1e-5)


def test_an_inactive_adapter_is_saved_as_when_it_was_active(tmp_path: Path):
    model = tiny.adapted("bert", tiny.method("bitfit"), adapter="first")
    save_adapter(model, tmp_path / "active", base=BASE)
    tiny.add(model, tiny.method(), adapter="second")
    save_adapter(model, tmp_path / "inactive", "first", base=BASE)
    for name in ("adapter.json", "adapter.safetensors"):
        assert (tmp_path / "inactive" / name).read_bytes() == (tmp_path / "active" / name).read_bytes()


def test_the_fingerprint_is_of_the_base_whichever_adapter_is_active():
    head = ["classifier.weight", "classifier.bias", "bert.pooler.dense.weight", "bert.pooler.dense.bias"]
    plain = fingerprint(tiny.model("bert"), head)
    model = tiny.model("bert")
    for name, word in (("first", "bitfit"), ("second", "lora")):
        tiny.add(model, tiny.method(word), adapter=name)
        assert fingerprint(model, head) == plain
    lora.merge(model)
    assert fingerprint(model, head) == plain
    assert fingerprint(tiny.model("bert", seed=1), head) != plain


def test_best_tensors_kept_in_memory_come_back():
    model = tiny.adapted("bert", tiny.method(layernorm=True))
    kept, wanted = {key: t.detach().clone() for key, t in adapter_tensors(model).items()}, tiny.logits(model)
    tiny.disturb([p for p in model.parameters() if p.requires_grad])
    load_tensors(model, kept)
    assert torch.equal(tiny.logits(model), wanted)
    del kept["classifier.bias"]
    with pytest.raises(ValueError, match=r"lacks 1 tensors \['classifier.bias'\], has 0 extra \[\]"):
        load_tensors(model, kept)


def test_loading_leaves_random_numbers_and_other_adapters_alone(saved: Path):
    model = tiny.adapted("bert", tiny.method(targets=["o"]), adapter="mine")
    wanted = tiny.logits(model)
    torch.manual_seed(1)
    load_adapter(model, saved, "other")
    drawn = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(3))
    lora.activate(model, "mine")
    assert torch.equal(tiny.logits(model), wanted)


def test_the_random_numbers_of_the_models_gpus_are_kept_too(saved: Path, monkeypatch: pytest.MonkeyPatch):
    """Seen without a GPU: the parameters say that they are on two, and fork_rng is asked for these."""
    forked: list[list[int]] = []
    monkeypatch.setattr("torch.random.fork_rng", lambda devices: nullcontext(forked.append(devices)))
    load_adapter(tiny.model("bert"), saved)
    model = tiny.model("bert")
    places = [Mock(device=torch.device(place)) for place in ("cuda:1", "cuda:0", "cuda:1", "cpu")]
    parameters = model.parameters
    monkeypatch.setattr(model, "parameters", lambda: iter([*parameters(), *places]))
    load_adapter(model, saved)
    assert forked == [[], [0, 1]]


def test_a_refused_adapter_leaves_the_model_as_it_was(saved: Path):
    model = tiny.adapted("bert", tiny.method("bitfit"), adapter="mine")
    wanted, trainable = tiny.logits(model), [name for name, p in model.named_parameters() if p.requires_grad]
    rewrite(saved, lambda tensors: tensors.pop("classifier.bias"))
    with pytest.raises(ValueError, match="lacks 1 tensors"):
        load_adapter(model, saved)
    assert lora.adapters(model) == ["mine"]
    assert torch.equal(tiny.logits(model), wanted)
    still = [name for name, p in model.named_parameters() if p.requires_grad]
    assert [lora.bank.plain_name(name) for name in still] == trainable
    with pytest.raises(ValueError, match="adapter 'mine' exists already; the model has mine"):
        load_adapter(model, saved, "mine")
    assert lora.adapters(model) == ["mine"]


def test_a_refused_full_fine_tuning_leaves_the_model_as_it_was(tmp_path: Path):
    save_adapter(tiny.adapted("bert", tiny.method("ft")), tmp_path, base=BASE)
    rewrite(tmp_path, lambda tensors: tensors.pop("bert.embeddings.word_embeddings.weight"))
    with pytest.raises(ValueError, match=r"lacks 1 tensors \['bert.embeddings.word_embeddings.weight'\]"):
        load_adapter(model := tiny.model("bert"), tmp_path)
    assert lora.adapters(model) == []
    assert torch.equal(tiny.logits(model), tiny.logits(tiny.model("bert")))


def test_a_failed_save_leaves_the_old_pair_whole(saved: Path, monkeypatch: pytest.MonkeyPatch):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    monkeypatch.setattr("os.fsync", lambda file: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_adapter(tiny.adapted("bert", tiny.method(rank=3)), saved, base=BASE)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def rewrite(folder: Path, change) -> None:
    """Change the saved tensors and sign them again, as a wrong tool would."""
    tensors = load_file(folder / "adapter.safetensors")
    change(tensors)
    save_file(tensors, folder / "adapter.safetensors")
    edit(folder, sha256=lora.pair_file._sha256(folder / "adapter.safetensors"))


def edit(folder: Path, **fields: object) -> None:
    """Change fields of the description."""
    path = folder / "adapter.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize(("change", "message"), [
    (lambda t: t.pop("classifier.bias"), r"saved does not fit this model: lacks 1 tensors \['classifier.b"),
    (lambda t: t.update(other=torch.ones(1)), r"lacks 0 tensors \[\], has 1 extra \['other'\]"),
    (lambda t: t.update({"classifier.bias": torch.ones(4)}), r"classifier.bias is \(4,\), the model needs"),
])
def test_every_tensor_is_accounted_for(saved: Path, change, message: str):
    rewrite(saved, change)
    with pytest.raises(ValueError, match=message):
        load_adapter(tiny.model("bert"), saved)


def test_a_base_that_differs_in_one_tensor_is_refused(saved: Path):
    model = tiny.model("bert")
    wanted = tiny.logits(tiny.adapted("bert", tiny.method()))
    with torch.no_grad():
        model.bert.encoder.layer[1].output.dense.weight.normal_()
    with pytest.raises(ValueError, match=r"on other base weights than this model's: .*'name': 'tiny'"):
        load_adapter(model, saved)
    load_adapter(model, saved, verify_base=False)
    assert not torch.allclose(tiny.logits(model), wanted)


def test_a_base_held_in_bf16_is_the_same_base(saved: Path):
    held = tiny.model("bert").bfloat16()
    load_adapter(held, saved)
    assert lora.adapters(held) == ["default"]


def test_another_architecture_and_other_labels_are_refused(saved: Path):
    with pytest.raises(ValueError, match="adapts a bert model, this is roberta"):
        load_adapter(tiny.model("roberta"), saved)
    model = tiny.model("bert")
    model.config.id2label = {0: "no", 1: "yes"}
    with pytest.raises(ValueError, match=r"has 3 labels \(LABEL_0, \w+, LABEL_2\), this model 2 \(no, yes\)"):
        load_adapter(model, saved)
    edit(saved, labels=["a", "b", "c"])
    model.config.id2label = {0: "b", 1: "a", 2: "c"}
    with pytest.raises(ValueError, match=r"has 3 labels \(a, b, c\), this model 3 \(b, a, c\)"):
        load_adapter(model, saved)


def test_a_folder_that_is_no_adapter_is_refused(saved: Path, tmp_path: Path):
    model = tiny.model("bert")
    with pytest.raises(FileNotFoundError, match=r"nowhere is not an adapter folder: it has no adapter.json"):
        load_adapter(model, tmp_path / "nowhere")
    edit(saved, version=9)
    with pytest.raises(ValueError, match="has version 9 of the format; this code reads 1"):
        load_adapter(model, saved)
    edit(saved, format="else")
    with pytest.raises(ValueError, match=r"adapter.json does not describe a lora-lab adapter"):
        load_adapter(model, saved)
    (saved / "adapter.json").write_text("{")
    with pytest.raises(ValueError, match=r"adapter.json is not complete JSON"):
        load_adapter(model, saved)
    shutil.move(saved / "adapter.json", saved / "adapter_config.json")
    with pytest.raises(ValueError, match=r"has PEFT's layout: read it with lora.peft.load_peft"):
        load_adapter(model, saved)


def test_an_unknown_method_is_refused(saved: Path):
    description, _ = read_adapter(saved)
    edit(saved, method=description["method"] | {"class": "Lora"})
    with pytest.raises(ValueError, match=r"method 'Lora' is not one of AdapterD, .*LoRA"):
        load_adapter(tiny.model("bert"), saved)


def test_a_truncated_file_is_refused(saved: Path):
    path = saved / "adapter.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"adapter.safetensors is not what adapter.json describes .*trunc"):
        read_adapter(saved)


def test_a_pickle_is_refused(saved: Path):
    (saved / "adapter.safetensors").rename(saved / "adapter.bin")
    for place in (saved, saved / "adapter.bin"):
        with pytest.raises(ValueError, match=r"pickle.* run code when read: adapter.safetensors is expected"):
            read_adapter(place)
    (saved / "adapter.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no adapter.safetensors"):
        read_adapter(saved)


def test_a_model_without_adapter_cannot_be_saved(tmp_path: Path):
    with pytest.raises(RuntimeError, match="no adapter is active: the model has none"):
        save_adapter(tiny.model("bert"), tmp_path, base=BASE)


@pytest.mark.parametrize("overrides", [
    ["+method=lora"], ["+method=lora", "method.rank={q: 1, v: 2}"], ["+method=ft"], ["+method=bitfit"]])
def test_a_method_that_hydra_built_is_written_as_plain_json(overrides: list[str], tmp_path: Path):
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        config = compose(overrides=["+preset=null", *overrides])
    model = tiny.adapted("bert", instantiate(config.method))
    description, _ = read_adapter(save_adapter(model, tmp_path, base=BASE))
    wanted = OmegaConf.to_container(config.method, resolve=True)
    kind = wanted.pop("_target_").removeprefix("lora.")  # type: ignore[union-attr]
    assert description["method"] == {"class": kind, **wanted}  # type: ignore[dict-item]
    load_adapter(fresh := tiny.model("bert"), tmp_path)
    assert torch.equal(tiny.logits(fresh), tiny.logits(model))
