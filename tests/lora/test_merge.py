"""Merging a layer: the same function, bit-exact unmerging, and nothing that adds an update twice."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers.pytorch_utils import Conv1D

from lora import AdaptedDense, Part
from tests.lora.layers import ALPHA, BASES, DTYPES, GPT2, N_IN, OPTIONS, RANK, W0, adapted, dense


@settings(max_examples=25, deadline=None)
@given(n_in=st.integers(1, 6), size=st.integers(1, 3), groups=st.integers(1, 2), parts=st.integers(1, 3),
       conv=st.booleans(), seed=st.integers(0, 99), factor=st.floats(-3, 3))
def test_merging_keeps_the_function_and_the_update_is_linear_in_B(n_in: int, size: int, groups: int, parts: int,
                                                                  conv: bool, seed: int, factor: float) -> None:
    torch.manual_seed(seed)
    layer = AdaptedDense(dense(Conv1D if conv else nn.Linear, n_in, groups * parts * size))
    layer.add("a", "v", Part(groups, parts, seed % parts), **OPTIONS | dict(rank=1))
    layer.activate("a")
    update, x = layer.of("a")["v"], torch.randn(3, n_in, dtype=torch.float64)
    nn.init.normal_(update.B)
    with torch.no_grad():
        plain, once = layer.base(x), layer(x)
        layer.eval().merge("a")
        torch.testing.assert_close(layer(x), once)
        layer.unmerge()
        update.B *= factor
        torch.testing.assert_close(layer(x) - plain, factor * (once - plain), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", BASES)
def test_unmerging_is_bit_exact_and_merging_twice_is_merging_once(kind: type, dtype: torch.dtype) -> None:
    layer = adapted(kind, {"q": GPT2["q"]}, dtype)
    before = layer.weight.clone()
    error = layer.merge("a")
    once = layer.weight.clone()
    assert layer.merge("a") is None
    assert torch.equal(layer.weight, once)
    assert not torch.equal(before, once)
    assert error.dtype == str(dtype).removeprefix("torch.")
    for _ in range(3):
        layer.merge("a")
        layer.unmerge()
    layer.unmerge()
    assert torch.equal(layer.weight, before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_merging_sums_in_fp32_casts_once_and_reports_the_largest_error(dtype: torch.dtype) -> None:
    layer = adapted(Conv1D, dtype=dtype)
    update = layer.of("a")["weight"]
    exact = W0(layer.base).double() + ALPHA / RANK * update.B.double() @ update.A.double()
    wanted = (W0(layer.base).float() + ALPHA / RANK * (update.B @ update.A)).to(dtype)
    error = layer.merge("a")
    assert torch.equal(W0(layer.base), wanted)
    assert error.largest == pytest.approx((wanted.double() - exact).abs().max().item(), rel=1e-3, abs=1e-7)
    assert error.largest <= torch.finfo(dtype).eps * exact.abs().max()


def test_training_while_merged_is_refused() -> None:
    layer = adapted(dtype=torch.float32)
    layer.merge("a")
    with pytest.raises(RuntimeError, match="adapter 'a' is merged: unmerge it before training"):
        layer.train()(torch.randn(2, N_IN))
    layer.eval()(torch.randn(2, N_IN))


@pytest.mark.parametrize(("act", "message"), [
    (lambda layer: layer.merge("b"), "adapter 'a' is merged: unmerge it before merging 'b'"),
    (lambda layer: layer.activate("b"), "adapter 'a' is merged: unmerge it before switching to 'b'"),
    (lambda layer: layer.delete("a"), "adapter 'a' is merged: unmerge it before deleting it"),
    (lambda layer: layer.load_state_dict(layer.state_dict()),
     "adapter 'a' is merged: unmerge it before loading a state dict"),
], ids=["merge", "switch", "delete", "load"])
def test_what_makes_no_sense_while_merged_is_refused(act: object, message: str) -> None:
    layer = adapted()
    layer.add("b", "weight", Part(), **OPTIONS)
    layer.merge("a")
    with pytest.raises(RuntimeError, match=message):
        act(layer)  # type: ignore[operator]


def test_a_state_dict_saved_while_merged_holds_W0() -> None:
    layer = adapted()
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    layer.merge("a")
    after = layer.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_eval_never_merges() -> None:
    layer = adapted()
    before = layer.weight.clone()
    layer.eval()
    layer.train()
    assert layer.merged is None
    assert torch.equal(layer.weight, before)
