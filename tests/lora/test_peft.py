"""PEFT as the judge: what either wrote the other loads, with equal outputs, gradients and merged weights."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.testing import assert_close
from transformers import PreTrainedModel

import lora
from lora.layer import adapted_layers
from lora.peft import load_peft, save_peft
from tests.lora import adapted_models as tiny

KINDS = ["bert", "roberta", "deberta", "deberta-v2", "gpt2", "gpt2-lm"]
TARGETS = {"bert": ["query", "value"], "roberta": ["query", "value", "intermediate.dense"],
           "deberta": ["in_proj"], "deberta-v2": ["query_proj", "value_proj"], "gpt2": ["c_attn"],
           "gpt2-lm": ["c_attn", "mlp.c_proj"]}
BY_ROLE: dict[str, Any] = {"rank": {"q": 1, "v": 3}, "alpha": {"q": 2.0, "v": 5.0}}
METHODS = {"plain": {}, "sizes by role": BY_ROLE, "rank-stabilised": {**BY_ROLE, "rank_stabilised": True},
           "all roles": {"targets": ["q", "k", "v", "o", "fc1", "fc2"]},
           "biases of sites": {"bias": "sites"}, "LayerNorms": {"layernorm": True}}


def read_by_peft(kind: str, folder: Path) -> nn.Module:
    return peft.PeftModel.from_pretrained(tiny.model(kind), folder).eval()


def trained_by_peft(kind: str, folder: Path, **options: object) -> PreTrainedModel:
    """A PEFT model with everything trainable disturbed, and its folder on disk."""
    given = {"r": 2, "lora_alpha": 6, "target_modules": TARGETS[kind],
             "fan_in_fan_out": kind.startswith("gpt2"),
             "task_type": "CAUSAL_LM" if kind == "gpt2-lm" else "SEQ_CLS", **options}
    model = peft.get_peft_model(tiny.model(kind), peft.LoraConfig(**given)).eval()
    tiny.disturb([p for p in model.parameters() if p.requires_grad])
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fields", METHODS.values(), ids=METHODS)
def test_peft_loads_what_we_trained(kind: str, fields: dict, tmp_path: Path):
    if kind == "deberta" and fields.get("bias") == "sites":
        pytest.skip("DeBERTa's in_proj has no bias")
    model = tiny.adapted(kind, tiny.method(**fields))
    save_peft(model, tmp_path)
    theirs = read_by_peft(kind, tmp_path)
    assert not torch.allclose(tiny.logits(tiny.model(kind)), tiny.logits(model))
    ours = tiny.logits(model.double())
    assert_close(tiny.logits(theirs.double()), ours, rtol=1e-6, atol=1e-6)
    assert_close(tiny.logits(theirs.merge_and_unload()), ours, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2"])
def test_peft_loads_all_biases_and_norms(kind: str, tmp_path: Path):
    model = tiny.adapted(kind, tiny.method(bias="all", layernorm=True))
    save_peft(model, tmp_path)
    assert_close(tiny.logits(read_by_peft(kind, tmp_path)), tiny.logits(model), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pooler", ["train", "frozen"])
def test_our_own_peft_files_come_back(kind: str, pooler: str, tmp_path: Path):
    model = tiny.adapted(kind, tiny.method(**BY_ROLE, layernorm=True), pooler)
    save_peft(model, tmp_path)
    load_peft(again := tiny.model(kind), tmp_path)
    assert_close(tiny.logits(again), tiny.logits(model), rtol=1e-5, atol=1e-5)


OPTIONS = {"plain": {}, "rank-stabilised": {"use_rslora": True}, "biases of sites": {"bias": "lora_only"},
           "all biases": {"bias": "all"},
           "patterns": {"rank_pattern": {r"0\.\S*": 4}, "alpha_pattern": {r"1\.\S*": 3}},
           "one layer": {"layers_to_transform": [1]}}


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2", "gpt2-lm"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_we_load_what_peft_trained(kind: str, options: dict, tmp_path: Path):
    theirs = trained_by_peft(kind, tmp_path, **options)
    load_peft(ours := tiny.model(kind), tmp_path)
    assert not torch.allclose(tiny.logits(tiny.model(kind)), tiny.logits(ours))
    assert_close(tiny.logits(ours), tiny.logits(theirs), rtol=1e-5, atol=1e-5)
    lora.merge(ours)
    assert_close(tiny.logits(ours), tiny.logits(theirs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["deberta", "deberta-v2"])
def test_we_load_deberta_as_peft_does(kind: str, tmp_path: Path):
    theirs = trained_by_peft(kind, tmp_path, modules_to_save=["pooler.dense", "classifier"])
    load_peft(ours := tiny.model(kind), tmp_path)
    assert_close(tiny.logits(ours), tiny.logits(theirs), rtol=1e-5, atol=1e-5)


def test_a_pooler_that_peft_trained_is_part_of_the_head(tmp_path: Path):
    for options, pooler in (({}, False), ({"modules_to_save": ["classifier", "bert.pooler.dense"]}, True)):
        theirs = trained_by_peft("bert", tmp_path / str(pooler), **options)
        groups = load_peft(ours := tiny.model("bert"), tmp_path / str(pooler))
        assert ("bert.pooler.dense.weight" in groups[-1].parameters) == pooler
        assert_close(tiny.logits(ours), tiny.logits(theirs), rtol=1e-5, atol=1e-5)


def test_targets_are_roles_where_peft_adapted_whole_matrices_and_globs_elsewhere(tmp_path: Path):
    found = {}
    for kind in ("bert", "gpt2"):
        trained_by_peft(kind, tmp_path / kind)
        load_peft(ours := tiny.model(kind), tmp_path / kind)
        found[kind] = lora.bank.bank(ours).adapters["default"].method.targets
    assert found == {"bert": ["q", "v"], "gpt2": ["transformer.h.*.attn.c_attn"]}


def gradients(model: nn.Module, fused: bool) -> dict[str, torch.Tensor]:
    """Gradients of A and B of the first layer for a fixed loss."""
    model.zero_grad()
    ids = torch.arange(21).view(3, 7) % 39 + 1
    model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.square().mean().backward()
    place = "transformer.h.0.attn.c_attn" if fused else "encoder.layer.0.attention.self.query"
    found = {name: p.grad for name, p in model.named_parameters() if place in name and p.requires_grad}
    letters = {name: re.search(r"\b(?:lora_)?([AB])\b", name) for name in found}
    return {match[1]: found[name] for name, match in letters.items() if match}


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_gradients_and_merged_weights_equal_pefts(kind: str, tmp_path: Path):
    theirs = trained_by_peft(kind, tmp_path)
    load_peft(ours := tiny.model(kind), tmp_path)
    wanted = gradients(theirs, kind == "gpt2")
    assert wanted.keys() == {"A", "B"}
    assert_close(gradients(ours, kind == "gpt2"), wanted, rtol=1e-5, atol=1e-5)
    lora.merge(ours)
    merged = dict(theirs.merge_and_unload().named_modules())
    for name, layer in adapted_layers(ours):
        assert_close(layer.weight, merged[name].weight, rtol=1e-5, atol=1e-5)


def test_the_block_form_of_a_fused_projection_updates_only_its_parts(tmp_path: Path):
    save_peft(tiny.adapted("gpt2", tiny.method(**BY_ROLE)), tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    key = "base_model.model.transformer.h.0.attn.c_attn.lora_"
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    A, B = tensors[f"{key}A.weight"], tensors[f"{key}B.weight"]
    assert (config["r"], config["fan_in_fan_out"]) == (4, True)
    assert (A.shape, B.shape) == ((4, 16), (48, 4))
    used = B != 0
    assert used[:16, :1].all()
    assert used[32:, 1:].all()
    assert used.sum() == 16 * 1 + 16 * 3


def test_peft_reads_the_adapter_that_was_inactive_or_merged(tmp_path: Path):
    model = tiny.adapted("bert", tiny.method(bias="sites"), adapter="first")
    wanted = tiny.logits(model)
    lora.merge(model)
    save_peft(model, tmp_path / "merged")
    lora.unmerge(model)
    tiny.add(model, tiny.method("bitfit"), adapter="second")
    save_peft(model, tmp_path / "inactive", "first")
    for folder in ("merged", "inactive"):
        assert_close(tiny.logits(read_by_peft("bert", tmp_path / folder)), wanted, rtol=1e-5, atol=1e-5)


HERE = str(Path("models", "tiny").absolute())


@pytest.mark.parametrize(("name_or_path", "given", "written"), [
    ("org/tiny", {}, ("org/tiny", None)), ("", {}, (None, None)), (HERE, {}, (None, None)),
    (HERE, {"base": "org/tiny", "revision": "1a2b"}, ("org/tiny", "1a2b")), (HERE, {"base": HERE}, (HERE, None))])
def test_the_base_is_a_name_and_a_folder_only_where_asked(name_or_path: str, given: dict, written: tuple,
                                                         tmp_path: Path):
    model = tiny.adapted("bert", tiny.method())
    model.name_or_path = name_or_path
    save_peft(model, tmp_path, **given)
    config = peft.PeftConfig.from_pretrained(tmp_path)
    assert (config.base_model_name_or_path, config.revision) == written


def test_what_peft_cannot_express_is_refused(tmp_path: Path):
    refused = {
        "adapter 'default' is bitfit: PEFT's LoRA layout": tiny.adapted("bert", tiny.method("bitfit")),
        "position_query=false: PEFT always adapts": tiny.adapted(
            "deberta-v2", tiny.method(position_query=False)),
        "bias options cannot hold .*q_bias": tiny.adapted("deberta", tiny.method(bias="all"))}
    for message, model in refused.items():
        with pytest.raises(ValueError, match=message):
            save_peft(model, tmp_path / "never")
    assert not (tmp_path / "never").exists()


def edit(folder: Path, **fields: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.fixture(scope="module")
def peft_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    trained_by_peft("bert", folder := tmp_path_factory.mktemp("peft"))
    return folder


@pytest.fixture
def folder(peft_folder: Path, tmp_path: Path) -> Path:
    for path in peft_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.mark.parametrize(("fields", "message"), [
    ({"peft_type": "IA3"}, "peft_type 'IA3' is not one of LORA"),
    ({"task_type": "SEQ_2_SEQ_LM"}, "task_type 'SEQ_2_SEQ_LM' is not one of CAUSAL_LM, SEQ_CLS"),
    ({"use_dora": True}, r"lacks 4 tensors \['bert.encoder.layer.0.attention.self.query.q.magnitude'"),
    ({"lora_bias": True}, "with lora_bias=True, which is not supported"),
    ({"alora_invocation_tokens": [1]}, r"with alora_invocation_tokens=\[1\], which is not supported"),
    ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights='pissa_niter_4', which may change the base weights"),
    ({"bias": "some"}, "bias 'some' is not one of all, lora_only, none"),
    ({"r": None}, "adapter_config.json: r is None, not a number"),
    ({"lora_alpha": None}, "adapter_config.json: lora_alpha is None, not a number"),
    ({"rank_pattern": {"query": "4"}}, "adapter_config.json: rank_pattern of query is '4', not a number"),
    ({"alpha_pattern": {"query": None}}, "adapter_config.json: alpha_pattern of query is None, not a number"),
    ({"r": 4}, "query.lora_A.weight has rank 2, adapter_config.json says 4"),
])
def test_options_that_change_the_function_are_refused_by_name(folder: Path, fields: dict, message: str):
    edit(folder, **fields)
    with pytest.raises(ValueError, match=message):
        load_peft(tiny.model("bert"), folder)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("bias", ["none", "lora_only", "all"])
def test_marked_copies_are_only_those_of_all_biases(kind: str, bias: str, tmp_path: Path):
    """PEFT's own files load with every key accounted for; any other marked key is a leftover."""
    trained_by_peft(kind, tmp_path, bias=bias)
    path = tmp_path / "adapter_model.safetensors"
    tensors = load_file(path)
    marked = {key for key in tensors if ".modules_to_save." in key or ".original_module." in key}
    assert bool(marked) == (bias == "all")
    load_peft(tiny.model(kind), tmp_path)
    more = ["modules_to_save.weight", "original_module.weight"] + ["modules_to_save.bias"] * (bias != "all")
    for key in more:
        save_file(tensors | {f"base_model.model.classifier.{key}": torch.ones(3)}, path)
        with pytest.raises(ValueError, match=rf"has 1 extra \['classifier\.({key}|weight|bias)'\]"):
            load_peft(tiny.model(kind), tmp_path)


QUERY = "base_model.model.bert.encoder.layer.0.attention.self.query"


@pytest.mark.parametrize(("lost", "more", "message"), [
    ("classifier.weight", None, r"lacks 1 tensors \['classifier.weight'\]"),
    ("query.lora_B", None, r"lacks 2 tensors \['bert.encoder.layer.0.attention.self.query.q.B'"),
    ("lora_A", None, "has no lora_A tensors"),
    (None, f"{QUERY}.lora_magnitude_vector", r"has magnitudes of DoRA, \S*query.lora_magnitude_vector"),
    (None, "base_model.model.bert.nothing.lora_A.weight", "no dense maps of this model: bert.nothing"),
])
def test_every_tensor_is_accounted_for(folder: Path, lost: str | None, more: str | None, message: str):
    path = folder / "adapter_model.safetensors"
    tensors = {key: t for key, t in load_file(path).items() if lost is None or lost not in key}
    save_file(tensors | ({more: torch.ones(2, 16)} if more else {}), path)
    model = tiny.model("bert")
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=message):
        load_peft(model, folder)
    assert lora.adapters(model) == []
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key.replace(".base.", ".")])


def test_a_peft_folder_that_is_broken_is_refused(folder: Path):
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"adapter_model.safetensors is truncated"):
        load_peft(tiny.model("bert"), folder)
    path.rename(folder / "adapter.bin")
    with pytest.raises(ValueError, match=r"holds a pickle, adapter.bin"):
        load_peft(tiny.model("bert"), folder)
    (folder / "adapter_config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"is not an adapter folder: it has no adapter_config.json"):
        load_peft(tiny.model("bert"), folder)
