"""One low-rank update dW of one frozen matrix W0, and its descendants (section 4.1, equation 3).

Shapes: x (..., n_in), A (rank, n_in), B (n_part, rank), A0 and B0 alike, magnitude (n_part), W0 (n_part, n_in).
LoRA: dW = scaling * B A with B = 0 at the start, scaling alpha / rank, or alpha / sqrt(rank) when rank-stabilised
(Kalajdzievski 2023, arXiv 2312.03732). PiSSA (Meng et al. 2024, arXiv 2404.02948) starts from A0 and B0, the largest
singular directions of W0, and freezes the rest of W0. Here W0 stays as it is, since other adapters share it, and
dW = scaling * (B A - B0 A0), which is the same function. DoRA (Liu et al. 2024, arXiv 2402.09353) trains each output's
magnitude beside its direction: W0 + dW = magnitude * V / |V|, V = W0 + scaling * B A, |V| the norm of each row.
"""

import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import is_fake
from torch.nn import functional

from lora.errors import check_choice

INITS = ("kaiming", "gaussian", "pissa")


def wide(tensor: Tensor) -> Tensor:
    """The tensor in fp32, or in fp64 if it is that: what updates are kept and merged in."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def has_numbers(tensor: Tensor) -> bool:
    """True for a tensor with values: neither on the meta device nor fake (FakeTensorMode)."""
    return not (tensor.is_meta or is_fake(tensor))


def scaling_of(rank: int, alpha: float, rank_stabilised: bool) -> float:
    """The factor of B A."""
    return alpha / (math.sqrt(rank) if rank_stabilised else rank)


@dataclass(frozen=True)
class Part:
    """The outputs of a dense map that belong to one matrix: part `index` of `parts`, interleaved over `groups`."""

    groups: int = 1
    parts: int = 1
    index: int = 0

    def overlaps(self, other: "Part") -> bool:
        """True where another part of the same map shares outputs with this one."""
        return self == other or 1 in (self.parts, other.parts)

    def of(self, outputs: Tensor, dim: int = -1) -> Tensor:
        """View of `outputs` along `dim`, (..., n_out, ...) -> (..., groups, n_out / groups / parts, ...)."""
        shape = (self.groups, self.parts, outputs.shape[dim] // (self.groups * self.parts))
        dim = dim % outputs.dim()
        return outputs.unflatten(dim, shape).select(dim + 1, self.index)


class LowRank(nn.Module):
    """One update dW of W0, zero at the start (but for a magnitude beside few bits: lora.quantised)."""

    def __init__(self, W0: Tensor, part: Part, *, rank: int, alpha: float, dropout: float, init: str,
                 rank_stabilised: bool, dora: bool, content_only: bool = False) -> None:
        super().__init__()
        n_part, n_in = W0.shape
        if not 1 <= rank <= min(n_in, n_part):
            raise ValueError(f"rank {rank} is not in 1..{min(n_in, n_part)} for a {n_part} x {n_in} matrix")
        check_choice("init", init, INITS)
        self.part, self.rank, self.alpha, self.init = part, rank, alpha, init
        self.content_only = content_only  # of a DeBERTa-v2 query: leaves the position query on W0 (lora.methods.lora)
        self.scaling = scaling_of(rank, alpha, rank_stabilised)
        dtype = torch.promote_types(W0.dtype, torch.float32)
        self.A = nn.Parameter(torch.empty(rank, n_in, device=W0.device, dtype=dtype))
        self.B = nn.Parameter(torch.zeros(n_part, rank, device=W0.device, dtype=dtype))
        self.dropout = nn.Dropout(dropout) if dropout else None
        self._fill(W0, init)
        self.A0: Tensor | None  # computed from W0 when an adapter is loaded, never saved
        self.B0: Tensor | None
        self.register_buffer("A0", self.A.detach().clone() if init == "pissa" else None, persistent=False)
        self.register_buffer("B0", self.B.detach().clone() if init == "pissa" else None, persistent=False)
        self.magnitude = nn.Parameter(self._norms(W0)) if dora else None  # (n_part,)
        if self.magnitude is not None and has_numbers(self.magnitude) and not self.magnitude.all():
            raise ValueError(f"dora needs directions, and row {int((self.magnitude == 0).nonzero()[0])} of W0 is zero")

    @torch.no_grad()
    def _fill(self, W0: Tensor, init: str) -> None:
        """The initial A, and for PiSSA the initial B, which otherwise stays zero."""
        if init == "kaiming":
            nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))  # U(+-1/sqrt(n_in)), loralib layers.py:124
        elif init == "gaussian":
            nn.init.normal_(self.A, std=0.02)  # the paper gives no width; its DeBERTa code has 0.02
        elif not W0.is_meta:
            if has_numbers(W0) and not W0.isfinite().all():
                raise ValueError("pissa needs singular directions, and W0 has a number that is not finite")
            U, S, Vh = torch.linalg.svd(wide(W0), full_matrices=False)
            root = (S[:self.rank] / self.scaling).sqrt()        # (rank,)
            self.A.copy_(root[:, None] * Vh[:self.rank])
            self.B.copy_(U[:, :self.rank] * root)

    def drop(self, x: Tensor) -> Tensor:
        """x as the trained path sees it: dropout acts here and nowhere else."""
        return x if self.dropout is None or not self.training else self.dropout(x)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """scaling * (B A seen - B0 A0 x), (..., n_part), for x and seen = drop(x), (..., n_in)."""
        change = self._through(seen, self.A, self.B)
        if self.A0 is not None and self.B0 is not None:
            change = change - self._through(x, self.A0, self.B0)
        return change

    def _through(self, x: Tensor, A: Tensor, B: Tensor) -> Tensor:
        if x.dtype != A.dtype and not torch.is_autocast_enabled(x.device.type):
            x = x.to(A.dtype)
        low = functional.linear(x, A)                    # (..., rank)
        return functional.linear(low * self.scaling, B)  # (..., n_part)

    @torch.no_grad()
    def delta(self) -> Tensor:
        """scaling * (B A - B0 A0), (n_part, n_in), in fp32 or wider: dW before a magnitude rescales it."""
        product = wide(self.B) @ wide(self.A)
        if self.A0 is not None and self.B0 is not None:
            product -= wide(self.B0) @ wide(self.A0)
        return self.scaling * product

    def factor(self, W0: Tensor) -> Tensor:
        """magnitude / |V|, (n_part,); |V| counts as a constant in the gradient (the DoRA paper's section 4.3)."""
        assert self.magnitude is not None
        return self.magnitude / self._norms(W0)

    @torch.no_grad()
    def _norms(self, W0: Tensor) -> Tensor:
        """|V|, (n_part,)."""
        with nullcontext() if W0.is_meta else torch.autocast(W0.device.type, enabled=False):
            return torch.linalg.vector_norm(wide(W0) + self.delta(), dim=1)
