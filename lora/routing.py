"""Rows of one batch through different adapters of a model."""

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from lora.bank import adapters, bank, refuse_merged, refuse_suspended
from lora.errors import check_choice
from lora.injected import slots
from lora.layer import AdaptedDense, Rows, adapted_layers


@contextlib.contextmanager
def route(model: nn.Module, rows: Sequence[str | None]) -> Iterator[None]:
    """Within the block row i of every batch goes through adapter rows[i]; None is the frozen base.

    Works in training and inference. The updates of all these adapters train within the block, so call backward()
    there: each receives the gradient of its own rows. In-place parameters and heads have one value in the model, so
    only adapters without in-place parameters can share a batch; the head is the active adapter's.
    """
    refuse_merged(model, "routing")
    refuse_suspended(model, "routing")
    names = list(dict.fromkeys(row for row in rows if row is not None))
    for name in names:
        _check_routable(model, name)
    layers = [layer for _, layer in adapted_layers(model)]
    updates = [update for layer in layers for name in names for update in layer.of(name).values()]
    frozen = [p for update in updates for p in update.parameters() if not p.requires_grad]
    for layer in layers:
        layer.rows = _rows_by_adapter(rows, layer)
    for _, slot in slots(model):  # no row may go through the active adapter's
        slot.active = None
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for layer in layers:
            layer.rows = None
        for _, slot in slots(model):
            slot.active = bank(model).active
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
