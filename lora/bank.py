"""The named adapters of a model: switch, disable, enable, merge, unmerge, delete.

Every change of state is one of these calls; train() and eval() never merge. An adapter has up to four kinds of
tensors: low-rank updates (in each AdaptedDense's bank), modules injected at a place (lora.injected), base
parameters that it trains in place (biases, norms, or all of them), and the task head. The last two have one place in
the model, so switching swaps their values. Exactly the active adapter's parameters train: requires_grad follows every
switch, and the parameter objects stay the same.
"""

import contextlib
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lora.errors import check_choice
from lora.injected import Slot, adapter_of, slots
from lora.layer import MergeError, adapted_layers

LOST_SHARE = 0.05  # merging warns when rounding loses more than this share of an update


class AppliedMethod(Protocol):
    """The part of a method (lora.methods.base.Method documents each) that is used after it was applied."""

    @property
    def name(self) -> str: ...

    def merge_refusal(self) -> str | None: ...

    def route_refusal(self) -> str | None: ...

    def separators(self) -> dict[str, int]: ...

    def config(self) -> dict[str, Any]: ...


@dataclass
class Adapter:
    """One adapter of a model: its method and the names of the model's parameters that it trains in place."""

    method: AppliedMethod
    in_place: list[str]                # names of base parameters that this adapter trains
    head: list[str]                    # names of head parameters
    base: dict[str, Tensor] | None     # in_place parameters before training; None: not kept (full fine-tuning)
    values: dict[str, Tensor] = field(default_factory=dict)  # in_place and head while another adapter is active


@dataclass
class Bank:
    """All adapters of one model, and which is active."""

    adapters: dict[str, Adapter] = field(default_factory=dict)
    active: str | None = None
    disabled: str | None = None  # the adapter that enable activates


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
    """The model's own parameters by their names in the unadapted model, those of adapters left out."""
    return {plain_name(name): p for name, p in model.named_parameters() if adapter_of(name) is None}


def own_parameters(model: nn.Module, name: str) -> dict[str, nn.Parameter]:
    """The parameters that adapter `name` added to the model."""
    return {key: p for key, p in model.named_parameters() if adapter_of(key) == name}


def check_new(model: nn.Module, name: str) -> None:
    """Raise unless an adapter `name` can be added to the model as it is."""
    refuse_merged(model, "adding another")
    refuse_suspended(model, "adding another")
    _refuse_without_base(model)
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise ValueError(f"adapter name {name!r} may hold letters, digits, '_' and '-' only")
    if hasattr(Slot(), name):
        raise ValueError(f"adapter name {name!r} is an attribute of torch's containers: take another")
    if name in adapters(model):
        raise ValueError(f"adapter {name!r} exists already; the model has {', '.join(adapters(model))}")


def activate(model: nn.Module, name: str) -> None:
    """Switch the model to adapter `name`: its modules, in-place parameters and head take effect and train."""
    check_choice("adapter", name, adapters(model))
    refuse_suspended(model, "switching")
    if bank(model).active != name:
        refuse_merged(model, "switching")
        _store_in_place(model)
        _restore_in_place(model, name)
    _switch(model, name)


def _switch(model: nn.Module, name: str | None) -> None:
    """Let forward use the modules of adapter `name`, and train exactly its parameters; None for neither."""
    for _, layer in adapted_layers(model):
        layer.activate(name)
    for _, slot in slots(model):
        slot.active = name
    bank(model).active = name
    entry = bank(model).adapters[name] if name is not None else None
    in_place = {*entry.in_place, *entry.head} if entry is not None else set()
    for key, parameter in model.named_parameters():
        added = entry is not None and adapter_of(key) == name
        parameter.requires_grad_(added or plain_name(key) in in_place)


def _store_in_place(model: nn.Module) -> None:
    """Keep the active adapter's in-place values in its entry, and restore those of the base."""
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
    """Put the in-place values kept in the entry of adapter `name` into the model."""
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
    refuse_merged(model, "disabling")
    refuse_suspended(model, "disabling")
    _store_in_place(model)
    entry = bank(model).adapters[active]
    _write(model, {key: entry.values[key] for key in entry.head})
    _switch(model, None)
    bank(model).disabled = active


def enable(model: nn.Module) -> None:
    """Activate the adapter that disable deactivated; without one nothing changes."""
    name = bank(model).disabled
    if name is None:
        return
    _restore_in_place(model, name)
    _switch(model, name)
    bank(model).disabled = None


@contextlib.contextmanager
def disabled(model: nn.Module) -> Iterator[None]:
    """Within the block the model is disabled; a model that was disabled before stays so."""
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


def refuse_merged(model: nn.Module, act: str) -> None:
    if (name := merged(model)) is not None:
        raise RuntimeError(f"adapter {name!r} is merged: unmerge it before {act}")


def refuse_suspended(model: nn.Module, act: str) -> None:
    """Raise while the model is disabled or routes rows: leaving that state would undo or contradict `act`."""
    if (name := bank(model).disabled) is not None:
        raise RuntimeError(f"adapter {name!r} is disabled: enable it before {act}")
    if any(layer.rows is not None for _, layer in adapted_layers(model)):
        raise RuntimeError(f"rows of a batch are routed: leave that block before {act}")


def merge(model: nn.Module) -> dict[str, MergeError]:
    """Merge the active adapter into the frozen weights; returns the worst rounding error per dtype.

    Merging what is merged changes nothing. Refused with a reason by methods whose update is not a dense matrix.
    """
    refuse_suspended(model, "merging")
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
    refuse_suspended(model, "deleting")
    if merged(model) == name:
        raise RuntimeError(f"adapter {name!r} is merged: unmerge it before deleting it")
    if bank(model).active == name:
        _store_in_place(model)
        _switch(model, None)
    forget(model, name)
    del bank(model).adapters[name]


def forget(model: nn.Module, name: str) -> None:
    """Remove all modules of adapter `name` from the model."""
    for _, layer in adapted_layers(model):
        layer.delete(name)
    for host, slot in slots(model):
        if name in slot:
            slot.remove(host, name)
