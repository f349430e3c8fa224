"""The named adapters of a model: switching, disabling, merging and deleting, on real architectures."""

import pytest
import torch
from torch import nn

from lora import (
    BitFit,
    activate,
    adapted_layers,
    adapters,
    delete,
    disable,
    disabled,
    enable,
    merge,
    merged,
    route,
    unmerge,
)
from tests.lora.tiny import CONFIGS, adapt, logits, lora, tiny, tokens, two

BIASES_AND_NORMS = dict(bias="all", layernorm=True)


def possible(architecture: str, changes: dict[str, object]) -> dict[str, object]:
    """The changes, without biases for Llama, which has none."""
    return changes | {"bias": "none"} if architecture == "llama" else changes


def with_head_of(model: nn.Module, other: nn.Module) -> nn.Module:
    """The unadapted `model` with the head of `other`."""
    head = {key: value for key, value in other.state_dict().items()
            if key.split(".")[0] in ("classifier", "score") or "pooler." in key}
    model.load_state_dict(head, strict=False)
    return model


@pytest.mark.parametrize("changes", [dict(), BIASES_AND_NORMS], ids=["plain", "biases and norms"])
@pytest.mark.parametrize("architecture", CONFIGS)
def test_disabled_equals_the_base_under_the_adapters_head(architecture: str, changes: dict[str, object]) -> None:
    model = adapt(tiny(architecture), **possible(architecture, changes))
    adapted = logits(model)
    with disabled(model):
        assert torch.equal(logits(model), logits(with_head_of(tiny(architecture), model)))
    assert torch.equal(logits(model), adapted)
    assert not torch.allclose(adapted, logits(with_head_of(tiny(architecture), model)))


def test_disabling_and_enabling_twice_are_once() -> None:
    model = adapt(tiny("roberta"), **BIASES_AND_NORMS)
    adapted, base = logits(model), logits(with_head_of(tiny("roberta"), model))
    disable(model)
    disable(model)
    assert torch.equal(logits(model), base)
    enable(model)
    enable(model)
    assert torch.equal(logits(model), adapted)
    disable(model)
    with disabled(model):
        pass
    assert torch.equal(logits(model), base)  # the block leaves it as it was


@pytest.mark.parametrize(("act", "words"), [
    (lambda model: activate(model, "a"), "switching"),
    (lambda model: activate(model, "b"), "switching"),
    (lambda model: delete(model, "a"), "deleting"),
    (lambda model: delete(model, "b"), "deleting"),
    (lambda model: lora().apply(model, pooler="train", adapter="c"), "adding another"),
    (merge, "merging"),
    (lambda model: route(model, ["a"]).__enter__(), "routing"),
], ids=["switch", "reactivate", "delete other", "delete own", "add", "merge", "route"])
def test_what_enabling_would_undo_is_refused_while_disabled(act: object, words: str) -> None:
    model = two("gpt2")
    before = logits(model)
    with disabled(model), pytest.raises(RuntimeError, match=f"adapter 'b' is disabled: enable it before {words}"):
        act(model)  # type: ignore[operator]
    assert adapters(model) == ["a", "b"]
    assert torch.equal(logits(model), before)


def training(model: nn.Module) -> set[int]:
    return {id(p) for p in model.parameters() if p.requires_grad}


def test_exactly_the_active_adapters_parameters_train() -> None:
    """The same parameter objects that apply gave the optimizer, through every change of state."""
    model, given = tiny("bert"), {}
    for name, method in (("a", lora(bias="sites")), ("b", BitFit(name="bitfit")), ("c", lora())):
        groups = method.apply(model, pooler="frozen" if name == "c" else "train", adapter=name)
        given[name] = {id(p) for group in groups for p in group.parameters.values()}
        assert training(model) == given[name]
    for name in ("a", "b", "c", "a"):
        activate(model, name)
        assert training(model) == given[name]
        with disabled(model):
            assert training(model) == set()
        assert training(model) == given[name]
    model.requires_grad_(False)
    activate(model, "a")
    assert training(model) == given["a"]
    delete(model, "b")
    assert training(model) == given["a"]
    delete(model, "a")
    assert training(model) == set()


@pytest.mark.parametrize("changes", [dict(), BIASES_AND_NORMS], ids=["plain", "biases and norms"])
def test_a_second_adapter_starts_from_the_base_not_from_the_first(changes: dict[str, object]) -> None:
    model = two("roberta", **changes)
    delete(model, "a")
    with disabled(model):
        assert torch.equal(logits(model), logits(with_head_of(tiny("roberta"), model)))
    delete(model, "b")
    assert torch.equal(logits(model), logits(with_head_of(tiny("roberta"), model)))
    assert adapters(model) == []


@pytest.mark.parametrize("changes", [dict(), BIASES_AND_NORMS], ids=["plain", "biases and norms"])
@pytest.mark.parametrize("architecture", CONFIGS)
def test_switching_brings_back_all_of_an_adapter(architecture: str, changes: dict[str, object]) -> None:
    changes = possible(architecture, changes)
    model = adapt(tiny(architecture), "a", seed=1, **changes)
    first, head = logits(model), {key: value.clone() for key, value in model.state_dict().items() if "score" in key}
    adapt(model, "b", seed=2, **changes)
    second = logits(model)
    for _ in range(2):
        activate(model, "a")
        assert torch.equal(logits(model), first)
        assert all(torch.equal(model.state_dict()[key], value) for key, value in head.items())
        activate(model, "b")
        assert torch.equal(logits(model), second)
    assert not torch.allclose(first, second)


def test_adapters_of_different_methods_share_a_model() -> None:
    model = adapt(tiny("roberta"), "updates")
    first = logits(model)
    BitFit(name="bitfit").apply(model, pooler="train", adapter="biases")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1
    second = logits(model)
    activate(model, "updates")
    assert torch.equal(logits(model), first)
    activate(model, "biases")
    assert torch.equal(logits(model), second)


@pytest.mark.parametrize("architecture", CONFIGS)
def test_merging_keeps_the_output_and_unmerging_is_exact(architecture: str) -> None:
    model = adapt(tiny(architecture), targets=["q", "k", "v", "o", "fc1", "fc2"])
    before, weights = logits(model), {key: value.clone() for key, value in model.state_dict().items()}
    errors = merge(model)
    assert merge(model) == {}
    assert merged(model) == "default"
    torch.testing.assert_close(logits(model), before, rtol=1e-5, atol=1e-5)
    assert errors["float32"].largest < 1e-6
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    unmerge(model)
    unmerge(model)
    assert merged(model) is None
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_merging_warns_when_the_dtype_loses_the_update(dtype: torch.dtype) -> None:
    model = tiny("roberta").to(dtype)
    lora().apply(model, pooler="train")
    for _, layer in adapted_layers(model):
        for update in layer.of("default").values():
            nn.init.normal_(update.B, std=1e-4)  # far below the spacing of the weights
    with pytest.warns(UserWarning, match=rf"merging into {str(dtype)[6:]} rounds away \d+% of an update \(largest"):
        errors = merge(model)
    assert errors[str(dtype)[6:]].share_of_update > 0.05


@pytest.mark.parametrize(("act", "message"), [
    (lambda model: activate(model, "b"), "adapter 'a' is merged: unmerge it before switching"),
    (lambda model: delete(model, "a"), "adapter 'a' is merged: unmerge it before deleting it"),
    (lambda model: disabled(model).__enter__(), "adapter 'a' is merged: unmerge it before disabling"),
    (lambda model: route(model, ["a"]).__enter__(), "adapter 'a' is merged: unmerge it before routing"),
    (lambda model: adapt(model, "c"), "adapter 'a' is merged: unmerge it before adding another"),
    (lambda model: model.load_state_dict(model.state_dict()),
     "adapter 'a' is merged: unmerge it before loading a state dict"),
    (lambda model: model.train()(**tokens()), "adapter 'a' is merged: unmerge it before training"),
], ids=["switch", "delete", "disable", "route", "add", "load", "train"])
def test_what_makes_no_sense_while_merged_is_refused_and_changes_nothing(act: object, message: str) -> None:
    model = two("gpt2")
    activate(model, "a")
    merge(model)
    before = logits(model)
    with pytest.raises(RuntimeError, match=message):
        act(model)  # type: ignore[operator]
    assert torch.equal(logits(model.eval()), before)
    assert (adapters(model), merged(model)) == (["a", "b"], "a")


def test_merging_needs_an_active_adapter() -> None:
    with pytest.raises(RuntimeError, match="no adapter is active: apply or load one before merging"):
        merge(tiny("roberta"))


@pytest.mark.parametrize("act", [activate, delete])
def test_an_unknown_adapter_is_named(act: object) -> None:
    with pytest.raises(ValueError, match="adapter 'bb' is not one of a, b"):
        act(two("roberta"), "bb")  # type: ignore[operator]


def test_deleting_an_idle_adapter_leaves_the_active_one() -> None:
    model = two("gpt2")
    before = logits(model)
    delete(model, "a")
    assert adapters(model) == ["b"]
    assert torch.equal(logits(model), before)
    assert not any(".updates.a." in name for name, _ in model.named_parameters())
    adapt(model, "a")  # the name is free again
