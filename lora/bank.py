"""The named adapters of a model: switch, disable, enable, merge, unmerge, delete, and route rows of a batch.

Every change of state is one of these calls; train() and eval() never merge. An adapter has up to three kinds of
tensors: low-rank updates (in each AdaptedDense's bank), base parameters that it trains in place (biases, norms, or
all of them), and the task head. The last two have one place in the model, so switching swaps their values. Exactly
the active adapter's parameters train: requires_grad follows every switch, and the parameter objects stay the same.
"""

import contextlib
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lora.errors import check_choice
from lora.layer import AdaptedDense, MergeError, Rows, adapted_layers

if TYPE_CHECKING:
    from lora.methods.base import Method

LOST_SHARE = 0.05  # merging warns when rounding loses more than this share of an update


@dataclass
class Adapter:
    """What the model knows of one adapter: its method and which of the model's parameters it trains in place."""

    method: "Method"
    in_place: list[str]                # names of base parameters that this adapter trains
    head: list[str]                    # names of head parameters
    base: dict[str, Tensor] | None     # in_place parameters before training; None: not kept (full fine-tuning)
    values: dict[str, Tensor] = field(default_factory=dict)  # in_place and head while another adapter is active


@dataclass
class Bank:
    """All adapters of one model, and which is active."""

    adapters: dict[str, Adapter] = field(default_factory=dict)
    active: str | None = None
    disabled: str | None = None  # the adapter that enable brings back


def bank(model: nn.Module) -> Bank:
    """The model's bank; empty for a model that no method was applied to."""
    if not hasattr(model, "_lora_bank"):
        model._lora_bank = Bank()  # type: ignore[assignment]
    return model._lora_bank  # type: ignore[return-value]


def adapters(model: nn.Module) -> list[str]:
    """Names of the model's adapters."""
    return list(bank(model).adapters)


def plain_name(parameter: str) -> str:
    """Name of a base parameter as in the unadapted model."""
    return re.sub(r"\.base\.(weight|bias)$", r".\1", parameter)


def base_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The model's own parameters by their names in the unadapted model, low-rank updates left out."""
    return {plain_name(name): p for name, p in model.named_parameters() if ".updates." not in name}


def base_values(model: nn.Module) -> dict[str, Tensor]:
    """The values of base_parameters, those that the active adapter trains in place as they were before it."""
    active = bank(model).adapters.get(bank(model).active or "")
    return base_parameters(model) | (active.base or {} if active else {})


def check_new(model: nn.Module, name: str) -> None:
    """Raise unless an adapter `name` can be added to the model as it is."""
    _refuse_merged(model, "adding another")
    _refuse_suspended(model, "adding another")
    _refuse_without_base(model)
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise ValueError(f"adapter name {name!r} may hold letters, digits, '_' and '-' only")
    if name in adapters(model):
        raise ValueError(f"adapter {name!r} exists already; the model has {', '.join(adapters(model))}")


def activate(model: nn.Module, name: str) -> None:
    """Switch the whole model to adapter `name`: its updates, its in-place parameters and its head; these train."""
    check_choice("adapter", name, adapters(model))
    _refuse_suspended(model, "switching")
    if bank(model).active != name:
        _refuse_merged(model, "switching")
        _store_in_place(model)
        _restore_in_place(model, name)
    _switch(model, name)


def _switch(model: nn.Module, name: str | None) -> None:
    """Let forward use the updates of `name`, and exactly its parameters train; None for neither."""
    for _, layer in adapted_layers(model):
        layer.activate(name)
    bank(model).active = name
    entry = bank(model).adapters[name] if name is not None else None
    own = {*entry.in_place, *entry.head} if entry is not None else set()
    for key, parameter in model.named_parameters():
        update = entry is not None and f".updates.{name}." in key
        parameter.requires_grad_(update or plain_name(key) in own)


def _store_in_place(model: nn.Module) -> None:
    """Set the active adapter's in-place values aside and put the base's back."""
    active = bank(model).active
    if active is None:
        return
    _refuse_without_base(model)
    entry = bank(model).adapters[active]
    assert entry.base is not None
    parameters = base_parameters(model)
    entry.values = {key: parameters[key].detach().clone() for key in (*entry.in_place, *entry.head)}
    _write(model, entry.base)


def _restore_in_place(model: nn.Module, name: str) -> None:
    """Put the in-place values of adapter `name`, set aside before, into the model."""
    entry = bank(model).adapters[name]
    _write(model, entry.values)
    entry.values = {}


def _refuse_without_base(model: nn.Module) -> None:
    for name, entry in bank(model).adapters.items():
        if entry.base is None:
            raise RuntimeError(f"adapter {name!r} ({entry.method.name}) trained the base weights themselves and no "
                               "copy of the base is kept: load the base model again instead")


@torch.no_grad()
def _write(model: nn.Module, values: dict[str, Tensor]) -> None:
    parameters = base_parameters(model)
    for key, value in values.items():
        if parameters[key].shape != value.shape:
            raise RuntimeError(f"{key} has shape {tuple(parameters[key].shape)}, the adapter's {tuple(value.shape)}")
        parameters[key].copy_(value)


def disable(model: nn.Module) -> None:
    """Make the model its frozen base, with the active adapter's head, until enable.

    Disabling again changes nothing, nor does it on a model without an active adapter.
    """
    active = bank(model).active
    if active is None:
        return
    _refuse_merged(model, "disabling")
    _refuse_suspended(model, "disabling")
    _store_in_place(model)
    entry = bank(model).adapters[active]
    _write(model, {key: entry.values[key] for key in entry.head})
    _switch(model, None)
    bank(model).disabled = active


def enable(model: nn.Module) -> None:
    """Bring back the adapter that disable set aside; without one nothing changes."""
    name = bank(model).disabled
    if name is None:
        return
    _restore_in_place(model, name)
    _switch(model, name)
    bank(model).disabled = None


@contextlib.contextmanager
def disabled(model: nn.Module) -> Iterator[None]:
    """Within the block the model is disabled; one that was so before stays so."""
    before = bank(model).disabled
    disable(model)
    try:
        yield
    finally:
        if before is None:
            enable(model)


def merged(model: nn.Module) -> str | None:
    """Name of the adapter that is merged into the weights, or None."""
    return next((layer.merged for _, layer in adapted_layers(model) if layer.merged is not None), None)


def _refuse_merged(model: nn.Module, act: str) -> None:
    if (name := merged(model)) is not None:
        raise RuntimeError(f"adapter {name!r} is merged: unmerge it before {act}")


def _refuse_suspended(model: nn.Module, act: str) -> None:
    """Raise while the model is disabled or routes rows, of which the end would undo or contradict `act`."""
    if (name := bank(model).disabled) is not None:
        raise RuntimeError(f"adapter {name!r} is disabled: enable it before {act}")
    if any(layer.rows is not None for _, layer in adapted_layers(model)):
        raise RuntimeError(f"rows of a batch are routed: leave that block before {act}")


def merge(model: nn.Module) -> dict[str, MergeError]:
    """Merge the active adapter into the frozen weights; returns the worst rounding error per dtype.

    Merging what is merged changes nothing. Refused with a reason by methods whose update is not a dense matrix.
    """
    _refuse_suspended(model, "merging")
    active = bank(model).active
    if active is None:
        raise RuntimeError("no adapter is active: apply or load one before merging")
    if (reason := bank(model).adapters[active].method.merge_refusal()) is not None:
        raise RuntimeError(reason)
    worst: dict[str, MergeError] = {}
    for _, layer in adapted_layers(model):
        error = layer.merge(active)
        if error is not None and error.largest >= worst.get(error.dtype, error).largest:
            worst[error.dtype] = error
    for error in worst.values():
        if error.share_of_update > LOST_SHARE:
            warnings.warn(f"merging into {error.dtype} rounds away {error.share_of_update:.0%} of an update "
                          f"(largest error {error.largest:.1e})", stacklevel=2)
    return worst


def unmerge(model: nn.Module) -> None:
    """Take the merged adapter out again: every frozen weight is bit for bit what it was."""
    for _, layer in adapted_layers(model):
        layer.unmerge()


def delete(model: nn.Module, name: str) -> None:
    """Remove adapter `name`; if it was active the model is its base again."""
    check_choice("adapter", name, adapters(model))
    _refuse_suspended(model, "deleting")
    if merged(model) == name:
        raise RuntimeError(f"adapter {name!r} is merged: unmerge it before deleting it")
    if bank(model).active == name:
        _store_in_place(model)
        _switch(model, None)
    for _, layer in adapted_layers(model):
        layer.delete(name)
    del bank(model).adapters[name]


@contextlib.contextmanager
def route(model: nn.Module, rows: Sequence[str | None]) -> Iterator[None]:
    """Within the block row i of every batch goes through adapter rows[i]; None is the frozen base.

    Works in training and inference. The updates of all these adapters train within the block, so call backward()
    there: each receives the gradient of its own rows. In-place parameters and heads have one value in the model, so
    only adapters without in-place parameters can share a batch; the head is the active adapter's.
    """
    _refuse_merged(model, "routing")
    _refuse_suspended(model, "routing")
    names = list(dict.fromkeys(row for row in rows if row is not None))
    for name in names:
        _check_routable(model, name)
    layers = [layer for _, layer in adapted_layers(model)]
    updates = [update for layer in layers for name in names for update in layer.of(name).values()]
    frozen = [p for update in updates for p in update.parameters() if not p.requires_grad]
    for layer in layers:
        layer.rows = _rows_by_adapter(rows, layer)
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for layer in layers:
            layer.rows = None
        for parameter in frozen:
            parameter.requires_grad_(False)


def _check_routable(model: nn.Module, name: str) -> None:
    check_choice("adapter", name, adapters(model))
    entry = bank(model).adapters[name]
    if entry.in_place:
        raise RuntimeError(f"adapter {name!r} trains base parameters in place: its rows cannot share a batch")
    if (reason := entry.method.route_refusal()) is not None:
        raise RuntimeError(f"adapter {name!r}: {reason}")


def _rows_by_adapter(rows: Sequence[str | None], layer: AdaptedDense) -> Rows:
    names = dict.fromkeys(row for row in rows if row is not None)
    return Rows(len(rows), [(name, torch.tensor([i for i, row in enumerate(rows) if row == name],
                                                device=layer.weight.device)) for name in names])
