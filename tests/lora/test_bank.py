"""The named adapters of a model: switching, disabling, merging, deleting and routing rows, on real architectures."""

import pytest
import torch
from torch import Tensor, nn

from lora import BitFit, activate, adapted_layers, adapters, delete, disabled, merge, merged, route, unmerge
from tests.lora.tiny import CONFIGS, adapt, lora, tiny, tokens

ROUTABLE = ["bert", "roberta", "deberta", "gpt2", "llama"]  # DeBERTa-v2's position query has no row of its own


def logits(model: nn.Module, batch: dict[str, Tensor] | None = None) -> Tensor:
    return model(**(batch or tokens())).logits.detach()


def with_head_of(model: nn.Module, other: nn.Module) -> nn.Module:
    """The unadapted `model` with the head of `other`."""
    head = {key: value for key, value in other.state_dict().items()
            if key.split(".")[0] in ("classifier", "score") or "pooler." in key}
    model.load_state_dict(head, strict=False)
    return model


def two(architecture: str, **changes: object) -> nn.Module:
    return adapt(adapt(tiny(architecture), "a", seed=1, **changes), "b", seed=2, **changes)


@pytest.mark.parametrize("changes", [dict(), dict(bias="all", layernorm=True)], ids=["plain", "biases and norms"])
@pytest.mark.parametrize("architecture", CONFIGS)
def test_disabled_equals_the_base_under_the_adapters_head(architecture: str, changes: dict[str, object]) -> None:
    model = adapt(tiny(architecture), **changes)
    adapted = logits(model)
    with disabled(model):
        assert torch.equal(logits(model), logits(with_head_of(tiny(architecture), model)))
    assert torch.equal(logits(model), adapted)
    assert not torch.allclose(adapted, logits(with_head_of(tiny(architecture), model)))


@pytest.mark.parametrize("changes", [dict(), dict(bias="all", layernorm=True)], ids=["plain", "biases and norms"])
def test_a_second_adapter_starts_from_the_base_not_from_the_first(changes: dict[str, object]) -> None:
    model = two("roberta", **changes)
    delete(model, "a")
    with disabled(model):
        assert torch.equal(logits(model), logits(with_head_of(tiny("roberta"), model)))
    delete(model, "b")
    assert torch.equal(logits(model), logits(with_head_of(tiny("roberta"), model)))
    assert adapters(model) == []


@pytest.mark.parametrize("changes", [dict(), dict(bias="all", layernorm=True)], ids=["plain", "biases and norms"])
@pytest.mark.parametrize("architecture", CONFIGS)
def test_switching_brings_back_all_of_an_adapter(architecture: str, changes: dict[str, object]) -> None:
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


ROWS = ["a", None, "b", "a", "b", None]


def gradients(model: nn.Module, batch: dict[str, Tensor], chosen: list[int]) -> dict[str, Tensor]:
    """Gradients of the chosen rows' summed logits, by the name of the low-rank tensor."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".updates." in name)
        parameter.grad = None
    model(**batch).logits[chosen].square().sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("architecture", ROUTABLE)
def test_routed_rows_equal_single_runs_in_outputs_and_gradients(architecture: str, training: bool) -> None:
    model = two(architecture).train(training)
    head = {key: value.clone() for key, value in model.state_dict().items()}  # of b: the active one's counts
    batch = tokens(rows=len(ROWS))
    with route(model, ROWS):
        routed = logits(model, batch)
        together = gradients(model, batch, list(range(len(ROWS))))
    apart: dict[str, Tensor] = {}
    for name in ("a", "b"):
        own = [i for i, row in enumerate(ROWS) if row == name]
        activate(model, name)
        with torch.no_grad():
            for key, value in model.state_dict().items():
                if ".updates." not in key:
                    value.copy_(head[key])
        torch.testing.assert_close(routed[own], logits(model, batch)[own], rtol=1e-5, atol=1e-5)
        apart |= gradients(model, batch, own)
    with disabled(model):
        base = [i for i, row in enumerate(ROWS) if row is None]
        torch.testing.assert_close(routed[base], logits(model, batch)[base], rtol=1e-5, atol=1e-5)
    assert together.keys() == apart.keys()
    assert {name.split(".updates.")[1][0] for name in together} == {"a", "b"}
    for name, gradient in together.items():
        torch.testing.assert_close(gradient, apart[name], rtol=1e-4, atol=1e-5)


def test_routing_everything_to_the_active_adapter_changes_nothing_and_ends_with_its_block() -> None:
    model, batch = two("roberta"), tokens()
    before = logits(model, batch)
    with route(model, ["b"] * 4):
        torch.testing.assert_close(logits(model, batch), before, rtol=1e-5, atol=1e-5)
    with pytest.raises(KeyError), route(model, ["a"] * 4):
        raise KeyError
    assert torch.equal(logits(model, batch), before)


@pytest.mark.parametrize(("rows", "error", "message"), [
    (["a", "c"], ValueError, "adapter 'c' is not one of a, b"),
    (["a"] * 3, RuntimeError, r"routing needs the batch in dimension 0: 3 rows, input \(4, 7, 16\)"),
])
def test_rows_that_cannot_be_routed_are_refused(rows: list[str], error: type[Exception], message: str) -> None:
    model = two("roberta")
    with pytest.raises(error, match=message), route(model, rows):
        logits(model)


def test_adapters_with_parameters_in_place_cannot_share_a_batch() -> None:
    model = two("roberta", bias="sites")
    with pytest.raises(RuntimeError, match="adapter 'a' trains base parameters in place"), route(model, ["a"] * 4):
        pass
