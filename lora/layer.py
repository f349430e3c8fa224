"""Low-rank updates beside a frozen dense map: h = W0 x + b + scaling * B A x (section 4.1, equation 3).

Shapes: x (..., n_in), h (..., n_out), W0 (n_out, n_in); an update is a LowRank (lora.low_rank).

A fused projection keeps several matrices in one: its n_out outputs are seen as (groups, parts, size), and an update
reaches one part, `[:, index, :]`. GPT-2's c_attn is (1, 3, d); DeBERTa's in_proj is (heads, 3, d / heads); an
unfused map is (1, 1, n_out). transformers' Conv1D stores W0 transposed, (n_in, n_out).
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from lora.low_rank import LowRank, Part, wide
from lora.quantised import dequantised, is_quantised


@dataclass(frozen=True)
class Rows:
    """Rows of a batch of `total` by adapter: (name, row numbers); rows of none go through W0 alone."""

    total: int
    by_adapter: Sequence[tuple[str, Tensor]]


@dataclass(frozen=True)
class MergeError:
    """Rounding error of merged weights against W0 + dW: largest absolute error, and norm relative to the update's."""

    dtype: str
    largest: float
    share_of_update: float


class AdaptedDense(nn.Module):
    """A frozen dense map (nn.Linear or Conv1D) with a bank of named updates, of which one is active.

    `updates[name][role]` is the LowRank of adapter `name` for the matrix in that role. Rows of a batch go through
    different adapters while `rows` is set (see lora.routing).
    """

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        if not isinstance(base, nn.Linear | Conv1D):
            raise TypeError(f"a low-rank update needs an nn.Linear or Conv1D, not {type(base).__name__}")
        self.base = base
        self.updates = nn.ModuleDict()
        self.active: str | None = None
        self.merged: str | None = None
        self.rows: Rows | None = None
        self._running: tuple[LowRank, ...] = ()  # the active adapter's updates, not registered a second time
        self.register_load_state_dict_pre_hook(_refuse_when_merged)
        self.train(base.training)

    @property
    def transposed(self) -> bool:
        return isinstance(self.base, Conv1D)

    @property
    def weight(self) -> Tensor:
        """W0, or W0 + dW while merged, in the base module's own layout."""
        return self.base.weight  # type: ignore[return-value]

    @property
    def bias(self) -> Tensor | None:
        return self.base.bias  # type: ignore[return-value]

    @property
    def frozen_weight(self) -> Tensor:
        """W0 (n_out, n_in), merged or not: a view, or anew where it is held in 4 or 8 bits."""
        if is_quantised(self.base):
            return dequantised(self.base)
        W0: Tensor = self.base._parameters["weight"]  # type: ignore[assignment]
        return W0.T if self.transposed else W0

    def add(self, name: str, role: str, part: Part, **options: object) -> None:
        """Put a new update into adapter `name` of the bank; options are LowRank's."""
        bank = self.updates[name] if name in self.updates else nn.ModuleDict()
        for other, present in self.of(name).items():
            if part.overlaps(present.part):  # such as q and '*.query'
                raise ValueError(f"adapter {name!r} already updates {other!r} here")
        update = LowRank(self._frozen_part(part), part, **options)  # type: ignore[arg-type]
        bank[role] = update  # type: ignore[operator]
        self.updates[name] = bank.train(self.training)  # type: ignore[union-attr, assignment]
        if self.active == name:
            self.activate(name)

    def activate(self, name: str | None) -> None:
        """Make `name` the adapter that forward uses; None or one with nothing here means W0 alone."""
        if self.merged is not None and name != self.active:
            raise RuntimeError(f"adapter {self.merged!r} is merged: unmerge it before switching to {name!r}")
        self.active = name
        self._running = tuple(self.of(name).values())

    @contextlib.contextmanager
    def leaving_out(self, excluded: Callable[[LowRank], bool]) -> Iterator[None]:
        """Within the block forward skips the active adapter's updates for which `excluded` is true."""
        running, self._running = self._running, tuple(update for update in self._running if not excluded(update))
        try:
            yield
        finally:
            self._running = running

    def of(self, name: str | None) -> dict[str, LowRank]:
        """The updates of adapter `name` in this layer, by role; empty where it has none."""
        updates: Any = self.updates[name] if name is not None and name in self.updates else {}
        return dict(updates.items())

    def forward(self, x: Tensor) -> Tensor:
        """h (..., n_out) for x (..., n_in)."""
        h = self.base(x)
        if self.merged is not None:
            if self.training and torch.is_grad_enabled():
                raise RuntimeError(f"adapter {self.merged!r} is merged: unmerge it before training")
            return h
        if is_quantised(self.base):
            h = h.clone()  # autograd allows no change in place of what bitsandbytes' own functions return
        if self.rows is not None:
            return self._forward_rows(x, h)
        for update in self._running:
            h = _add(h, self._change(update, x, h), update.part)
        return h

    def _frozen_part(self, part: Part) -> Tensor:
        """W0 (n_part, n_in) of one part, merged or not."""
        return part.of(self.frozen_weight, 0).flatten(0, 1)

    def _change(self, update: LowRank, x: Tensor, h: Tensor) -> Tensor:
        """dW x, (..., n_part), which `update` adds to its part of h = W0 x + b.

        A magnitude adds (factor - 1) * V seen, where seen is x after dropout, as in PEFT and the authors' code.
        """
        change = update(x, seen := update.drop(x))
        if update.magnitude is None:
            return change
        factor = update.factor(W0 := self._frozen_part(update.part))
        if seen is not x:
            return change + (factor - 1) * (functional.linear(seen, W0.to(seen.dtype)) + update(seen, seen))
        plain = h if self.bias is None else h - self.bias                    # (..., n_out)
        plain = update.part.of(plain).flatten(-2)                            # (..., n_part)
        return change + (factor - 1) * (plain + change)

    def _forward_rows(self, x: Tensor, h: Tensor) -> Tensor:
        """Each adapter's rows of the batch, x[rows], go through that adapter's updates."""
        assert self.rows is not None
        if x.shape[0] != self.rows.total:
            raise RuntimeError(f"routing needs the batch in dimension 0: {self.rows.total} rows, "
                               f"input {tuple(x.shape)}")
        for name, rows in self.rows.by_adapter:
            for update in self.of(name).values():
                plain = h if update.magnitude is None else h.index_select(0, rows)
                delta = self._change(update, x.index_select(0, rows), plain)
                part = update.part.of(h)
                part.index_add_(0, rows, delta.view(len(rows), *part.shape[1:]).to(h.dtype))
        return h

    @torch.no_grad()
    def delta(self, name: str) -> Tensor:
        """dW (n_out, n_in) of adapter `name` in fp32 or wider: zero in the parts that it does not update."""
        total = torch.zeros_like(wide(self.frozen_weight))
        for update in self.of(name).values():
            part = update.part.of(total, 0)  # (groups, size, n_in)
            dW = update.delta()              # (n_part, n_in)
            if update.magnitude is not None:
                W0 = wide(self._frozen_part(update.part))
                dW = update.factor(W0)[:, None] * (W0 + dW) - W0
            part += dW.view_as(part)
        return total

    @torch.no_grad()
    def merge(self, name: str) -> MergeError | None:
        """Let W0 + dW act in the place of W0, summed in fp32 or wider and cast once. Merging again changes nothing.

        It is an attribute of the base module before its parameter W0, which stays as it is: another module may share
        it, as word embeddings do with an output layer.
        """
        if self.merged == name or name not in self.updates:
            return None
        if self.merged is not None:
            raise RuntimeError(f"adapter {self.merged!r} is merged: unmerge it before merging {name!r}")
        if is_quantised(self.base):
            raise RuntimeError(f"adapter {name!r} cannot be merged: its update would be rounded to the few bits that "
                               "the frozen weights are held in; load it on a model in fp32 and merge there")
        W0, dW = self.weight.data, self.delta(name)
        wanted = wide(W0) + (dW.T if self.transposed else dW)
        vars(self.base)["weight"], self.merged = wanted.to(W0.dtype), name
        stored = self.weight.T if self.transposed else self.weight
        lost = self.frozen_weight.double() + dW.double() - stored.double()
        norm = dW.double().norm().item()
        return MergeError(str(W0.dtype).removeprefix("torch."), lost.abs().max().item(),
                          lost.norm().item() / norm if norm else 0.0)

    def unmerge(self) -> None:
        """Let W0 act again, which was never changed."""
        vars(self.base).pop("weight", None)
        self.merged = None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move W0 + dW with the parameters, to a device or a dtype."""
        if self.merged is not None:
            vars(self.base)["weight"] = fn(self.weight)
        return super()._apply(fn, recurse)

    def delete(self, name: str) -> None:
        """Remove adapter `name` from this layer."""
        if self.merged == name:
            raise RuntimeError(f"adapter {name!r} is merged: unmerge it before deleting it")
        if name in self.updates:
            del self.updates[name]
        if self.active == name:
            self.activate(None)


def _add(h: Tensor, delta: Tensor, part: Part) -> Tensor:
    """h with `delta` (..., n_part) added to its part: in place for a slice, else anew, which measures no slower."""
    delta = delta.to(h.dtype)
    if part.parts == 1:
        return h + delta
    target = part.of(h)
    target += delta.view_as(target)
    return h


def _refuse_when_merged(layer: nn.Module, *_: object) -> None:
    assert isinstance(layer, AdaptedDense)
    if layer.merged is not None:
        raise RuntimeError(f"adapter {layer.merged!r} is merged: unmerge it before loading a state dict")


def adapted_layers(model: nn.Module) -> Iterator[tuple[str, AdaptedDense]]:
    """Every dense map of `model` that carries a bank, with its module name."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, AdaptedDense))
