"""Roles and patterns name the right modules of each architecture; every wrong target is an error that helps."""

import fnmatch
import re

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from lora.low_rank import Part
from lora.sites import find_sites, head_modules, layer_number, sites_by_name, stored_transposed
from tests.lora.tiny import HEADS, adapt, lora, sites, tiny

BERT = {"q": ["attention.self.query"], "k": ["attention.self.key"], "v": ["attention.self.value"],
        "o": ["attention.output.dense"], "fc1": ["intermediate.dense"], "fc2": ["output.dense"]}
MODULES = {
    "bert": ("bert.encoder.layer.", BERT),
    "roberta": ("roberta.encoder.layer.", BERT),
    "deberta": ("deberta.encoder.layer.", BERT | {role: ["attention.self.in_proj"] for role in "qkv"}),
    "deberta-v2": ("deberta.encoder.layer.", BERT | {
        "q": ["attention.self.query_proj"], "k": ["attention.self.key_proj"], "v": ["attention.self.value_proj"]}),
    "gpt2": ("transformer.h.", {
        "q": ["attn.c_attn"], "k": ["attn.c_attn"], "v": ["attn.c_attn"], "o": ["attn.c_proj"],
        "fc1": ["mlp.c_fc"], "fc2": ["mlp.c_proj"]}),
    "llama": ("model.layers.", {
        "q": ["self_attn.q_proj"], "k": ["self_attn.k_proj"], "v": ["self_attn.v_proj"], "o": ["self_attn.o_proj"],
        "fc1": ["mlp.gate_proj", "mlp.up_proj"], "fc2": ["mlp.down_proj"]}),
}


@pytest.mark.parametrize("role", ["q", "k", "v", "o", "fc1", "fc2"])
@pytest.mark.parametrize("architecture", MODULES)
def test_a_role_is_these_modules(architecture: str, role: str) -> None:
    prefix, modules = MODULES[architecture]
    expected = [f"{prefix}{layer}.{module}" for layer in (0, 1) for module in modules[role]]
    assert [site.module for site in find_sites(tiny(architecture), [role])] == expected


@pytest.mark.parametrize(("architecture", "groups"), [("gpt2", 1), ("deberta", HEADS)])
def test_fused_projections_are_split_by_role(architecture: str, groups: int) -> None:
    parts = [site.part for site in find_sites(tiny(architecture), ["q", "k", "v"])]
    assert parts == 2 * [Part(groups=groups, parts=3, index=index) for index in range(3)]


@pytest.mark.parametrize(("role", "place"), [("q", 0), ("k", 1), ("v", 2)])
@pytest.mark.parametrize("architecture", ["gpt2", "deberta"])
def test_a_fused_slice_is_the_one_that_the_model_uses_in_that_role(architecture: str, role: str, place: int) -> None:
    """Seen in the model's own split: only tensor `place` of (q, k, v) moves with an update of `role`."""
    model = adapt(tiny(architecture), targets=[role])
    layer = model.get_submodule(sites(model)[0])
    x = torch.randn(1, 5, 16)
    moved = (layer(x) - layer.base(x)).detach()
    split = moved.split(16, dim=2) if architecture == "gpt2" else moved.view(1, 5, HEADS, -1).chunk(3, dim=-1)
    assert [bool(part.abs().max() > 0) for part in split] == [index == place for index in range(3)]


@pytest.mark.parametrize("architecture", MODULES)
def test_names_alone_tell_what_the_model_tells(architecture: str) -> None:
    model = tiny(architecture)
    told = {name: sites_by_name(name) for name, _ in model.named_modules()}
    found = {name: [] for name in told}
    for site in find_sites(model, list(BERT)):
        if "in_proj" not in site.module:  # its parts depend on the number of heads
            found[site.module].append(site)
    assert {name: sorted(each, key=lambda s: s.part.index) for name, each in found.items()} == told


@pytest.mark.parametrize("architecture", MODULES)
def test_names_alone_tell_which_weights_are_stored_transposed(architecture: str) -> None:
    for name, module in tiny(architecture).named_modules():
        assert stored_transposed(name) == isinstance(module, Conv1D)


def test_the_layer_is_the_first_whole_number_of_a_name() -> None:
    names = ["bert.encoder.layer.11.attention.self.query", "decoder.block.3.layer.0.q", "lm_head", "fc1.conv2d.x"]
    assert [layer_number(name) for name in names] == [11, 3, None, None]


def test_sites_follow_the_model_not_the_order_of_targets() -> None:
    model = tiny("roberta")
    assert find_sites(model, ["v", "q"]) == find_sites(model, ["q", "v"]) == find_sites(model, ["q", "v", "q"])


def test_patterns_reach_any_architecture() -> None:
    model = tiny("roberta")
    model.config.model_type = "novel"
    assert sites(adapt(model, targets=["*.attention.self.query", "roberta.encoder.layer.1.output.dense"])) == [
        "roberta.encoder.layer.0.attention.self.query", "roberta.encoder.layer.1.attention.self.query",
        "roberta.encoder.layer.1.output.dense"]


def test_adapted_modules_are_found_again_by_their_own_names() -> None:
    model = tiny("gpt2")
    before = find_sites(model, ["q", "o"])
    assert find_sites(adapt(model), ["q", "o"]) == before
    assert not any(fnmatch.fnmatch(site.module, "*.base") for site in find_sites(model, ["*attn*"]))


@pytest.mark.parametrize(("pooler", "left"), [("train", []), ("frozen", ["bert.pooler.dense"])])
def test_a_glob_leaves_out_what_trains_whole(pooler: str, left: list[str]) -> None:
    model = tiny("bert")
    lora(targets=["*.dense", "bert.encoder.layer.0.*.query"]).apply(model, pooler=pooler)
    places = ["attention.output.dense", "intermediate.dense", "output.dense"]
    dense = {f"bert.encoder.layer.{layer}.{place}" for layer in (0, 1) for place in places}
    assert set(sites(model)) == dense | {"bert.encoder.layer.0.attention.self.query", *left}


@pytest.mark.parametrize(("architecture", "target", "matches"), [
    ("bert", "*.pooler.dense", "bert.pooler.dense"), ("bert", "classifier*", "classifier"),
    ("roberta", "classifier.*", "classifier.dense, classifier.out_proj")])
def test_a_target_of_the_head_alone_is_refused(architecture: str, target: str, matches: str) -> None:
    message = f"pattern {target!r} matches only the task head, which trains whole: {matches}"
    with pytest.raises(ValueError, match=re.escape(message)):
        lora(targets=["q", target]).apply(tiny(architecture), pooler="train")


@pytest.mark.parametrize(("architecture", "targets", "parts"), [
    ("roberta", ["qq"], ["target 'qq' is not one of q, k, v, o, fc1, fc2", "pattern with '*' or '.'"]),
    ("roberta", ["fc3"], ["target 'fc3'", "did you mean 'fc"]),
    ("roberta", [], ["targets is empty", "q, k, v, o, fc1, fc2"]),
    ("roberta", ["*.wq"], ["pattern '*.wq' matches no dense module", "roberta.encoder.layer.*.attention.self.query"]),
    ("novel", ["q"], ["architecture 'novel' is not one of bert, roberta, deberta, deberta-v2, gpt2, llama",
                      "patterns", "roberta.encoder.layer.*.attention.self.query"]),
    ("gpt2", ["q"], ["role 'q' matches no module of this gpt2 model", "roberta.encoder.layer.*.output.dense"]),
])
def test_a_wrong_target_is_named_with_what_exists(architecture: str, targets: list[str], parts: list[str]) -> None:
    model = tiny("roberta")
    model.config.model_type = architecture
    with pytest.raises(ValueError) as error:
        lora(targets=targets).apply(model, pooler="train")
    for part in parts:
        assert part in str(error.value)
    assert sites(model) == []


@pytest.mark.parametrize(("architecture", "train", "frozen"), [
    ("bert", ["classifier", "bert.pooler.dense"], ["classifier"]),
    ("roberta", ["classifier"], ["classifier"]),
    ("deberta", ["classifier", "pooler.dense"], ["classifier"]),
    ("deberta-v2", ["classifier", "pooler.dense"], ["classifier"]),
    ("gpt2", ["score"], ["score"]),
    ("llama", ["score"], ["score"]),
])
def test_the_pooler_belongs_to_the_head_where_it_is_to_train(architecture: str, train: list[str],
                                                             frozen: list[str]) -> None:
    model = tiny(architecture)
    assert head_modules(model, "train") == train
    assert head_modules(model, "frozen") == frozen
    assert all(isinstance(model.get_submodule(name), nn.Module) for name in train)


def test_a_wrong_pooler_is_named() -> None:
    with pytest.raises(ValueError, match="pooler 'trian' is not one of frozen, train; did you mean 'train'"):
        head_modules(tiny("bert"), "trian")
