"""Cost of a training step from shapes alone: FLOPs, activations and peak memory (section 4.2).

The model consists of fake tensors (torch's FakeTensorMode): the real code of model, method and optimizer runs on
shapes, and a ledger reads every operation. So nothing is assumed about an architecture or a method, GPT-3 175B needs
no memory, and activation checkpointing, autocast and tied weights count as they are. The tensors are CPU tensors, even
where a GPU's operations are counted (`as_on_gpu`).

A matrix product of (m, k) and (k, n) is 2 m k n FLOPs, as in torch.utils.flop_counter. Memory is what tensors hold:
not the scratch space inside an operation, nor what an allocator keeps.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop, sdpa_flop

aten = torch.ops.aten
PRODUCTS = flop_registry | {  # the counter leaves out the fused attention of a CPU
    aten._scaled_dot_product_flash_attention_for_cpu: sdpa_flop,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: sdpa_backward_flop}
UNFILLED = (aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty, aten.new_empty_strided)
GATHERS = (aten.embedding, aten.index, aten.gather, aten.index_select)  # read as much as they write


@dataclass(frozen=True)
class Work:
    """FLOPs of matrix products, and bytes that all other operations read and write."""

    flops: int
    moved_bytes: int

    def __sub__(self, other: "Work") -> "Work":
        return Work(self.flops - other.flops, self.moved_bytes - other.moved_bytes)


@dataclass(frozen=True)
class StepCost:
    """Work and memory of one training step.

    weight_bytes: all parameters and buffers, adapter and head included; gradient_bytes and optimizer_bytes: those of
    the trained parameters; activation_bytes: tensors that the forward pass keeps for the backward pass; peak_bytes:
    the high-water mark of all of these together over a step after the first, which has optimizer states from its
    beginning. `backward` includes what activation checkpointing computes again.
    """

    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    activation_bytes: int
    peak_bytes: int
    forward: Work
    backward: Work
    update: Work


class Ledger(TorchDispatchMode):
    """Reads every operation inside its context: work done, bytes of live tensors and their high-water mark."""

    def __init__(self, held: Iterable[Tensor]) -> None:
        super().__init__()
        self.flops = self.moved_bytes = self.live_bytes = self.peak_bytes = 0
        self._storages: set[int] = set()
        self._hold(held)

    @property
    def work(self) -> Work:
        return Work(self.flops, self.moved_bytes)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.namespace != "aten":
            return result
        inputs, outputs = list(_tensors((args, kwargs))), list(_tensors(result))
        if (product := PRODUCTS.get(func.overloadpacket)) is not None:
            self.flops += product(*args, **(kwargs or {}), out_val=result)
        elif func._schema.is_mutable or not _touches_nothing(func, inputs, outputs):
            read = outputs if func.overloadpacket in GATHERS else inputs
            written = outputs or _changed(func, args, kwargs or {})  # an update of many tensors returns none
            self.moved_bytes += sum(tensor.nbytes for tensor in (*read, *written))
        self._hold(inputs, new=False)  # the batch is older than the ledger, and so are its views
        self._hold(outputs)
        return result

    def _hold(self, tensors: Iterable[Tensor], new: bool = True) -> None:
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if storage._cdata not in self._storages:
                nbytes = storage.nbytes() if new else 0
                self._storages.add(storage._cdata)
                weakref.finalize(storage, self._release, storage._cdata, nbytes)
                self.live_bytes += nbytes
                self.peak_bytes = max(self.peak_bytes, self.live_bytes)

    def _release(self, storage: int, nbytes: int) -> None:
        self._storages.remove(storage)
        self.live_bytes -= nbytes


def _touches_nothing(func: Any, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> bool:
    """True for an out-of-place operation that reads and writes no number: a view, a new tensor without values."""
    storages = {tensor.untyped_storage()._cdata for tensor in inputs}
    return func.overloadpacket in UNFILLED or all(tensor.untyped_storage()._cdata in storages for tensor in outputs)


def _changed(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """The tensors that an operation writes in place."""
    arguments = func._schema.arguments
    values = {argument.name: value for argument, value in zip(arguments, args, strict=False)} | dict(kwargs)
    return [tensor for argument in arguments if argument.is_write for tensor in _tensors(values.get(argument.name))]


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def shadow(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor]) -> StepCost:
    """The cost of a step: loss().backward(), optimizer.step(). Model and optimizer consist of fake tensors, unused."""
    with Ledger([*model.parameters(), *model.buffers()]) as ledger:
        weights = ledger.live_bytes
        value = loss()
        forward, activations = ledger.work, ledger.live_bytes - weights
        value.backward()
        del value
        backward, gradients, peak = ledger.work, ledger.live_bytes - weights, ledger.peak_bytes
        optimizer.step()  # the first step creates the optimizer's states; later steps find them
        states, first = ledger.live_bytes - weights - gradients, ledger.work
        optimizer.step()
        update = ledger.work - first
    peak = max(peak + states, ledger.peak_bytes)
    return StepCost(weights, gradients, states, activations, peak, forward, backward - forward, update)


@contextmanager
def as_on_gpu() -> Iterator[None]:
    """Make attention and dropout keep for the backward pass what they keep on a GPU, though the tensors are a CPU's.

    A GPU's fused attention takes dropout; a CPU's does not, and falls back to products that keep every score. Dropout
    keeps one byte per number on a GPU, and a number of the same width on a CPU.
    """
    attention, dropout = functional.scaled_dot_product_attention, functional.dropout

    def fused(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
              *others: Any, **named: Any) -> Tensor:
        return attention(query, key, value, attn_mask, 0.0, *others, **named)  # of dropout it keeps only a seed

    def masked(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return torch.native_dropout(input, p, training)[0] if training and p else input

    functional.scaled_dot_product_attention, functional.dropout = fused, masked  # type: ignore[assignment]
    try:  # not a TorchFunctionMode, which the backward pass of a checkpoint would not see
        yield
    finally:
        functional.scaled_dot_product_attention, functional.dropout = attention, dropout  # type: ignore[assignment]
