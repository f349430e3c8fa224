"""Modules that an adapter puts at a place: at work while it is active, and gone without a trace with it."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lora import Method, activate, adapters, delete, disabled, route
from lora.adapter_file import adapter_tensors, load_tensors
from lora.bank import base_parameters
from lora.injected import Injected, inject, slots
from tests.lora.tiny import D, adapt, logits, tiny, tokens


class Scaled(Injected):
    """Multiplies what its host is given by `factor`, and adds `shift` to what it gives."""

    def __init__(self, like: nn.Parameter) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.full((), 2.0, device=like.device))
        self.shift = nn.Parameter(torch.full((D,), 0.5, device=like.device))

    def before(self, host: nn.Module, args: Any, kwargs: Any) -> Any:
        return (self.factor * args[0], *args[1:]), kwargs

    def after(self, host: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        return output + self.shift


@dataclass(frozen=True, kw_only=True)
class Scaling(Method):
    """Scaled at the places of `places`."""

    places: tuple[str, ...] = ("roberta.encoder.layer.0.output.dropout", "roberta.encoder.layer.1.attention.output")

    def inject(self, model: nn.Module, adapter: str, heads: Sequence[str]) -> None:
        for place in self.places:
            inject(model, place, adapter, Scaled(next(model.parameters())))


def names(model: nn.Module) -> list[str]:
    return [name for name, _ in model.named_parameters()]


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_a_module_works_before_and_after_its_host_while_its_adapter_is_active() -> None:
    model, batch = tiny("roberta"), tokens()
    seen: dict[str, torch.Tensor] = {}
    output = model.roberta.encoder.layer[1].output
    plain = output.dropout(output.dense(torch.ones(1, 16 * 2)))
    Scaling(name="scaling", places=("roberta.encoder.layer.1.output.dropout",)).apply(model, pooler="train")
    torch.testing.assert_close(output.dropout(output.dense(torch.ones(1, 16 * 2))), 2 * plain + 0.5)
    with disabled(model):
        assert torch.equal(output.dropout(output.dense(torch.ones(1, 16 * 2))), plain)
        seen["base"] = logits(model, batch)
    assert not torch.allclose(logits(model, batch), seen["base"])
    assert torch.equal(seen["base"], logits(tiny("roberta"), batch))


def test_exactly_what_the_active_adapter_brought_trains() -> None:
    model = tiny("roberta")
    own, head = Scaling(name="scaling").apply(model, pooler="train")
    assert set(own.parameters) == {f"{place}.injected.default.{key}" for place in Scaling(name="").places
                                   for key in ("factor", "shift")}
    assert {id(p) for p in model.parameters() if p.requires_grad} == {
        id(p) for group in (own, head) for p in group.parameters.values()}
    model(**tokens(), labels=torch.tensor([0, 1, 2, 0])).loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in own.parameters.values())


def test_adapters_of_both_kinds_share_a_model_and_leave_no_trace() -> None:
    before, base = names(tiny("roberta")), logits(tiny("roberta"))
    model = adapt(tiny("roberta"), "low-rank")
    first = logits(model)
    for name in ("a", "b"):
        Scaling(name="scaling").apply(model, pooler="train", adapter=name)
    with torch.no_grad():
        for _, slot in slots(model):
            slot["b"].shift += 1.0
    results = {name: (activate(model, name), logits(model))[1] for name in ("a", "b", "low-rank", "a")}
    assert torch.equal(results["low-rank"], first)
    assert len({tuple(value.flatten().tolist()) for value in results.values()}) == 3
    assert set(base_parameters(model)) == set(before)
    delete(model, "a")
    assert torch.equal(logits(model), logits(tiny("roberta"))) is False  # the head is the adapters'
    activate(model, "b")
    assert torch.equal(logits(model), results["b"])
    delete(model, "b")
    assert (adapters(model), list(slots(model)), hooks(model)) == (["low-rank"], [], 0)
    delete(model, "low-rank")
    alone = tiny("roberta")
    Scaling(name="scaling").apply(alone, pooler="train")
    delete(alone, "default")
    assert names(alone) == before
    assert torch.equal(logits(alone), base)


def test_routed_rows_do_not_go_through_the_active_adapters_modules() -> None:
    model = adapt(tiny("roberta"), "low-rank")
    low_rank = logits(model)
    with disabled(model):
        base = logits(model)
    Scaling(name="scaling").apply(model, pooler="train", adapter="scaled")
    scaled = logits(model)
    with route(model, ["low-rank", None, "low-rank", None]):
        mixed = logits(model)
    torch.testing.assert_close(mixed, torch.stack([low_rank[0], base[1], low_rank[2], base[3]]))
    assert torch.equal(logits(model), scaled)


def test_its_tensors_have_plain_names_and_come_back(tmp_path: Path) -> None:
    model, other = tiny("roberta"), tiny("roberta")
    Scaling(name="scaling").apply(model, pooler="train", adapter="mine")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.3 * torch.randn_like(parameter)
    tensors = {key: value.detach().clone() for key, value in adapter_tensors(model).items()}
    assert "roberta.encoder.layer.0.output.dropout.injected.shift" in tensors
    Scaling(name="scaling").apply(other, pooler="train", adapter="theirs")
    load_tensors(other, tensors)
    assert torch.equal(logits(other), logits(model))


def test_a_copy_of_a_model_is_a_model_of_its_own() -> None:
    model = tiny("roberta")
    Scaling(name="scaling").apply(model, pooler="train")
    before, twin = logits(model), copy.deepcopy(model)
    with torch.no_grad():
        for _, slot in slots(twin):
            slot["default"].shift += 1.0
    assert torch.equal(logits(model), before)
    assert not torch.allclose(logits(twin), before)
    delete(twin, "default")
    assert hooks(twin) == 0 < hooks(model)


@pytest.mark.parametrize(("places", "error", "message"), [
    (("roberta.encoder.layer.0.output.dropout",) * 2, ValueError,
     r"layer\.0\.output\.dropout: adapter 'default' already has its Scaled here"),
    (("roberta.encoder.layer.0.output.dense",), TypeError, "output.dense is a dense map"),
    (("roberta.encoder.layer.0.output.dropout", "roberta.encoder.layer.0.output.dense"), TypeError, "is a dense map"),
])
def test_a_place_that_is_taken_or_dense_is_refused(places: tuple[str, ...], error: type, message: str) -> None:
    model = tiny("roberta")
    before = names(model)
    with pytest.raises(error, match=message):
        Scaling(name="scaling", places=places).apply(model, pooler="train")
    assert (names(model), adapters(model), hooks(model)) == (before, [], 0)


@pytest.mark.parametrize("name", ["keys", "active", "training"])
def test_a_name_that_a_container_needs_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"adapter name '{name}' is an attribute of torch's containers"):
        Scaling(name="scaling").apply(tiny("roberta"), pooler="train", adapter=name)
