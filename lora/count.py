"""Exact parameter counts, on the meta device: no weights are read and none are allocated."""

from dataclasses import dataclass

from torch import nn

from lora.methods.base import Method


@dataclass(frozen=True)
class Counts:
    """Numbers of parameters and the bytes that storing one adaptation takes.

    total: every parameter of the adapted model, head and adapter included; trainable: what the method trains, head
    excluded; head: the task head, trained with every method; percent: 100 * trainable / total; adapter_bytes_*: the
    trainable parameters at 4 or 2 bytes each.
    """

    total: int
    trainable: int
    head: int
    percent: float
    adapter_bytes_fp32: int
    adapter_bytes_fp16: int


def count(model: nn.Module, method: Method, pooler: str) -> Counts:
    """Apply `method` to `model` (best on the meta device) and count."""
    groups = method.apply(model, pooler=pooler)
    trainable = sum(p.numel() for group in groups if not group.head for p in group.parameters.values())
    head = sum(p.numel() for group in groups if group.head for p in group.parameters.values())
    total = sum(p.numel() for p in model.parameters())
    return Counts(total, trainable, head, 100 * trainable / total, 4 * trainable, 2 * trainable)
