"""One small adapted layer in each layout, for the tests of lora/layer.py."""

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lora import AdaptedDense, Part

N_IN, N_OUT, RANK, ALPHA = 8, 12, 2, 6  # alpha != rank, so that a missing scaling shows
OPTIONS = dict(rank=RANK, alpha=ALPHA, dropout=0.0, init="kaiming", rank_stabilised=False, dora=False)
GPT2 = {role: Part(parts=3, index=index) for index, role in enumerate("qkv")}
DEBERTA = {role: Part(groups=2, parts=3, index=index) for index, role in enumerate("qkv")}
WHOLE = {"weight": Part()}
BASES = [nn.Linear, Conv1D]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def dense(kind: type, n_in: int = N_IN, n_out: int = N_OUT, dtype: torch.dtype = torch.float64) -> nn.Module:
    base = nn.Linear(n_in, n_out) if kind is nn.Linear else Conv1D(n_out, n_in)
    nn.init.normal_(base.weight, std=0.5)
    nn.init.normal_(base.bias)
    return base.to(dtype)


def adapted(kind: type = nn.Linear, parts: dict[str, Part] = WHOLE, dtype: torch.dtype = torch.float64,
            std: float = 1.0, **changes: object) -> AdaptedDense:
    """A layer whose adapter "a" is active, with B set to numbers."""
    torch.manual_seed(0)
    layer = AdaptedDense(dense(kind, dtype=dtype))
    layer.requires_grad_(False)
    for role, part in parts.items():
        layer.add("a", role, part, **OPTIONS | changes)
        nn.init.normal_(layer.of("a")[role].B, std=std)
    layer.activate("a")
    return layer


def W0(base: nn.Module) -> Tensor:
    return base.weight.T if isinstance(base, Conv1D) else base.weight
