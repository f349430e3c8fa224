"""Frozen dense maps held in 4 or 8 bits by bitsandbytes (QLoRA, Dettmers et al. 2023, arXiv 2305.14314).

bitsandbytes quantises a weight when it moves to the GPU. 4 bits are NF4 with doubly quantised constants; 8 bits are
LLM.int8() (Dettmers et al. 2022, arXiv 2208.07339), where inputs beyond 6 are multiplied in fp16. An adapter trained
beside such weights belongs to the model as it was before: `sampled` keeps what tells that model from others. DoRA's
magnitude starts from the norms of that model's rows, so it gives the quantised rows their former norms and is not zero
at the start; PEFT's starts from the norms of the quantised rows.
"""

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

HELD = ("4bit", "8bit")
SAMPLE = 256  # values of each base tensor that tell it from another


def check_available(held: str, device: torch.device) -> None:
    """Raise ValueError where weights cannot be held in few bits."""
    if device.type != "cuda":
        raise ValueError(f"frozen weights in {held} need a CUDA GPU, and this runs on {device.type}: hold them in bf16 "
                         "or fp32")
    if find_spec("bitsandbytes") is None:
        raise ValueError(f"frozen weights in {held} need the package bitsandbytes: pip install bitsandbytes")


def quantised(dense: nn.Module, held: str, dtype: torch.dtype) -> nn.Module:
    """bitsandbytes' layer for a frozen nn.Linear or Conv1D, computing in `dtype`; it quantises on its way to a GPU."""
    import bitsandbytes

    weight: Tensor = dense.weight.data  # type: ignore[union-attr, assignment]
    W0 = (weight.T if isinstance(dense, Conv1D) else weight).contiguous()  # (n_out, n_in)
    n_out, n_in = W0.shape
    layers = bitsandbytes.nn
    if held == "4bit":
        layer = layers.Linear4bit(n_in, n_out, bias=False, compute_dtype=dtype, quant_type="nf4", device="meta")
        layer.weight = layers.Params4bit(W0, requires_grad=False, quant_type="nf4", module=layer)
    else:
        layer = layers.Linear8bitLt(n_in, n_out, bias=False, has_fp16_weights=False, threshold=6.0, device="meta")
        layer.weight = layers.Int8Params(W0, requires_grad=False, has_fp16_weights=False)
    layer.bias, layer.before = dense.bias, sampled(weight)
    return layer


def sampled(tensor: Tensor) -> tuple[tuple[int, ...], Tensor]:
    """Shape of a base tensor, and about SAMPLE of its values as bf16."""
    return tuple(tensor.shape), tensor.flatten()[::max(1, tensor.numel() // SAMPLE)].cpu().bfloat16().contiguous()


def is_quantised(dense: nn.Module) -> bool:
    """True for a layer made by `quantised`."""
    return type(dense.weight).__name__ in ("Params4bit", "Int8Params")


def dequantised(dense: nn.Module) -> Tensor:
    """W0 (n_out, n_in) as the bits have it."""
    weight: Any = dense.weight
    if weight.is_floating_point():  # not on a GPU yet
        return weight.data
    from bitsandbytes import functional

    if type(weight).__name__ == "Params4bit":
        return functional.dequantize_4bit(weight.data, weight.quant_state)
    state: Any = dense.state  # which takes the scales over at the first forward
    return functional.int8_vectorwise_dequant(weight.data, state.SCB if weight.SCB is None else weight.SCB)
