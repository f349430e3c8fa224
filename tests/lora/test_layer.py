"""The low-rank layer against the closed form in float64, separate Linears, PEFT and loralib."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lora import AdaptedDense, LowRank, Part
from tests.lora.layers import ALPHA, BASES, DEBERTA, DTYPES, GPT2, N_IN, N_OUT, OPTIONS, RANK, W0, WHOLE, adapted

SHAPES = [(5, N_IN), (3, 5, N_IN), (2, 3, 5, N_IN)]
LAYOUTS = {"gpt2": GPT2, "deberta": DEBERTA, "whole": WHOLE}


def owned(layout: str, role: str) -> list[int]:
    """Output numbers of a role, written out from the architectures' own reshapes."""
    size = N_OUT // 3
    if layout == "gpt2":  # query, key, value = c_attn(x).split(d, dim=2)
        return list(range(N_OUT))["qkv".index(role) * size:][:size]
    if layout == "deberta":  # view(heads, 3 * size).chunk(3): each head has its own q, k, v
        return [head * N_OUT // 2 + "qkv".index(role) * size // 2 + i for head in range(2) for i in range(size // 2)]
    return list(range(N_OUT))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", BASES)
def test_forward_is_the_closed_form(kind: type, shape: tuple[int, ...]) -> None:
    layer = adapted(kind)
    update = layer.of("a")["weight"]
    x = torch.randn(shape, dtype=torch.float64)
    expected = x @ W0(layer.base).T + layer.bias + ALPHA / RANK * x @ update.A.T @ update.B.T
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("chosen", ["q", "k", "v", "qv", "qkv"])
@pytest.mark.parametrize("layout", ["gpt2", "deberta"])
@pytest.mark.parametrize("kind", BASES)
def test_fused_projection_equals_separate_linears(kind: type, layout: str, chosen: str,
                                                  shape: tuple[int, ...]) -> None:
    layer = adapted(kind, {role: LAYOUTS[layout][role] for role in chosen})
    x = torch.randn(shape, dtype=torch.float64)
    h = layer(x)
    for role in "qkv":
        rows = owned(layout, role)
        separate = x @ W0(layer.base)[rows].T + layer.bias[rows]
        if role in chosen:
            update = layer.of("a")[role]
            separate = separate + ALPHA / RANK * x @ update.A.T @ update.B.T
        torch.testing.assert_close(h[..., rows], separate, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("chosen", ["q", "v", "qv"])
@pytest.mark.parametrize("layout", ["gpt2", "deberta"])
def test_unselected_slices_are_exactly_zero_and_selected_ones_of_rank_r(layout: str, chosen: str) -> None:
    layer = adapted(parts={role: LAYOUTS[layout][role] for role in chosen})
    dW = layer.delta("a")
    for role in "qkv":
        rank = torch.linalg.matrix_rank(dW[owned(layout, role)]).item()
        assert rank == (RANK if role in chosen else 0)
        assert (dW[owned(layout, role)] == 0).all() == (role not in chosen)
    # with one A shared by q and v both together would still have rank r
    assert torch.linalg.matrix_rank(dW) == RANK * len(chosen)


@pytest.mark.parametrize("rank", [1, 3])
def test_each_role_has_its_own_rank(rank: int) -> None:
    layer = adapted(parts={"q": GPT2["q"]})
    layer.add("a", "v", GPT2["v"], **OPTIONS | dict(rank=rank, alpha=rank))
    nn.init.normal_(layer.of("a")["v"].B)
    assert [update.A.shape[0] for update in layer.of("a").values()] == [RANK, rank]
    x = torch.randn(4, N_IN, dtype=torch.float64)  # an update that is added to the active adapter acts at once
    torch.testing.assert_close(layer(x) - layer.base(x), x @ layer.delta("a").T)


@pytest.mark.parametrize("parts", [WHOLE, GPT2, DEBERTA], ids=["whole", "gpt2", "deberta"])
@pytest.mark.parametrize("kind", BASES)
def test_zero_B_leaves_the_output_unchanged(kind: type, parts: dict[str, Part]) -> None:
    layer = adapted(kind, parts, std=0.0)
    x = torch.randn(4, N_IN, dtype=torch.float64)
    assert torch.equal(layer(x), layer.base(x))


def test_at_the_start_B_has_a_gradient_and_A_has_none() -> None:
    layer = adapted(std=0.0)
    layer(torch.randn(4, N_IN, dtype=torch.float64)).square().sum().backward()
    update = layer.of("a")["weight"]
    assert update.B.grad.abs().max() > 0
    assert update.A.grad.abs().max() == 0
    assert layer.weight.grad is None


@pytest.mark.parametrize("parts", [WHOLE, GPT2, DEBERTA], ids=["whole", "gpt2", "deberta"])
@pytest.mark.parametrize("kind", BASES)
def test_gradients_match_finite_differences(kind: type, parts: dict[str, Part]) -> None:
    layer = adapted(kind, parts)
    x = torch.randn(3, N_IN, dtype=torch.float64, requires_grad=True)
    weights = [p for update in layer.of("a").values() for p in (update.A, update.B)]
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *weights))


@pytest.mark.parametrize("stabilised", [False, True])
def test_scaling_is_alpha_over_r_or_over_its_root(stabilised: bool) -> None:
    layer = adapted(rank=4, alpha=6, rank_stabilised=stabilised)
    update = layer.of("a")["weight"]
    torch.testing.assert_close(layer.delta("a"), (3.0 if stabilised else 1.5) * update.B @ update.A)


@pytest.mark.parametrize("dtype", DTYPES)
def test_low_precision_bases_keep_their_dtype_and_fp32_updates(dtype: torch.dtype) -> None:
    layer = adapted(parts=GPT2, dtype=dtype)
    h = layer(torch.randn(3, N_IN, dtype=dtype))
    h.float().sum().backward()
    assert h.dtype == dtype
    assert layer.of("a")["q"].A.grad.dtype == torch.float32


@pytest.mark.parametrize("parts", [WHOLE, GPT2, DEBERTA], ids=["whole", "gpt2", "deberta"])
def test_autocast_gives_the_fp32_result_within_bf16(parts: dict[str, Part]) -> None:
    layer = adapted(parts=parts, dtype=torch.float32)
    x = torch.randn(3, 4, N_IN)
    with torch.autocast("cpu", torch.bfloat16):
        h = layer(x)
    h.float().sum().backward()
    assert h.dtype == torch.bfloat16
    assert layer.of("a")[next(iter(parts))].B.grad.dtype == torch.float32
    torch.testing.assert_close(h.float(), layer(x), rtol=0.05, atol=0.2)


def test_dropout_acts_on_the_low_rank_path_only_and_not_in_eval() -> None:
    layer = adapted(dropout=0.5)
    x = torch.randn(400, N_IN, dtype=torch.float64)
    update, plain = layer.of("a")["weight"], layer.base(x)
    with torch.no_grad():
        update.A[:, 1:] = 0  # each row's update hangs on x[0] alone: dropped, or kept and doubled
    closed = ALPHA / RANK * x @ update.A.T @ update.B.T
    torch.testing.assert_close(layer.eval()(x), plain + closed)
    factor = ((layer.train()(x) - plain) / closed).mean(dim=1)
    kept = factor > 1
    torch.testing.assert_close(factor, 2.0 * kept.double())
    assert 150 < kept.sum() < 250


@pytest.mark.parametrize(("init", "std"), [("kaiming", 1 / math.sqrt(3 * 256)), ("gaussian", 0.02)])
def test_initial_A_has_the_stated_distribution(init: str, std: float) -> None:
    torch.manual_seed(0)
    update = LowRank(torch.zeros(256, 256), Part(), rank=128, alpha=1, dropout=0.0, init=init, rank_stabilised=False,
                     dora=False)
    assert update.A.mean().abs() < 0.02 * std * 3
    assert update.A.std().item() == pytest.approx(std, rel=0.02)
    assert (update.B == 0).all()
    bounded = update.A.abs().max() <= 1 / math.sqrt(256)
    assert bounded == (init == "kaiming")  # U(+-1/sqrt(n_in))


@pytest.mark.parametrize(("change", "message"), [
    (dict(rank=0), r"rank 0 is not in 1\.\.8 for a 12 x 8 matrix"),
    (dict(rank=9), r"rank 9 is not in 1\.\.8 for a 12 x 8 matrix"),
    (dict(init="kaimng"), "init 'kaimng' is not one of gaussian, kaiming, pissa; did you mean 'kaiming'"),
])
def test_bad_options_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        adapted(**change)


def test_only_dense_maps_can_be_adapted() -> None:
    with pytest.raises(TypeError, match=r"needs an nn.Linear or Conv1D, not Embedding"):
        AdaptedDense(nn.Embedding(3, 4))


def peft_layer(base: nn.Module, update: LowRank) -> nn.Module:
    """PEFT's layer over the same base with the same A and B."""
    layers = pytest.importorskip("peft.tuners.lora.layer", reason="peft comes with the test extra")
    from peft import LoraConfig

    conv = isinstance(base, Conv1D)
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, fan_in_fan_out=conv)
    layer = layers.Linear(base, "default", config=config, r=RANK, lora_alpha=ALPHA, is_target_conv_1d_layer=conv)
    with torch.no_grad():
        layer.lora_A["default"].weight.copy_(update.A)
        layer.lora_B["default"].weight.copy_(update.B)
    return layer


def same_function(ours: AdaptedDense, theirs: nn.Module, pairs: list[tuple[Tensor, Tensor]]) -> None:
    """Outputs, input gradients and the (our gradient, their gradient) pairs agree in fp32 to 1e-5."""
    x = torch.randn(3, 5, N_IN)
    seen = []
    for layer in (ours, theirs):
        inputs = x.clone().requires_grad_()
        h = layer(inputs)
        h.square().mean().backward()
        seen.append((h.detach(), inputs.grad))
    torch.testing.assert_close(seen[0], seen[1], rtol=1e-5, atol=1e-5)
    for mine, other in pairs:
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", BASES)
def test_equals_peft(kind: type) -> None:
    ours = adapted(kind, dtype=torch.float32)
    update = ours.of("a")["weight"]
    theirs = peft_layer(copy.deepcopy(ours.base), update)
    same_function(ours, theirs, [(update.A, theirs.lora_A["default"].weight),
                                 (update.B, theirs.lora_B["default"].weight)])
    ours.merge("a")
    theirs.merge()
    torch.testing.assert_close(ours.weight, theirs.base_layer.weight, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", BASES)
def test_equals_loralib_linear(kind: type) -> None:
    loralib = pytest.importorskip("loralib", reason="loralib comes with the test extra")
    ours = adapted(kind, dtype=torch.float32)
    update = ours.of("a")["weight"]
    theirs = loralib.Linear(N_IN, N_OUT, r=RANK, lora_alpha=ALPHA, fan_in_fan_out=kind is Conv1D)
    load_loralib(theirs, ours, update.A, update.B)
    same_function(ours, theirs, [(update.A, theirs.lora_A), (update.B, theirs.lora_B)])
    ours.merge("a")
    theirs.eval()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("chosen", ["q", "qv", "qkv"])
def test_equals_loralib_merged_linear(chosen: str, kind: type) -> None:
    loralib = pytest.importorskip("loralib", reason="loralib comes with the test extra")
    ours = adapted(kind, {role: GPT2[role] for role in chosen}, torch.float32)
    updates = list(ours.of("a").values())
    theirs = loralib.MergedLinear(N_IN, N_OUT, r=RANK, lora_alpha=ALPHA, fan_in_fan_out=kind is Conv1D,
                                  enable_lora=[role in chosen for role in "qkv"])
    load_loralib(theirs, ours, torch.cat([u.A for u in updates]), torch.cat([u.B for u in updates]))
    same_function(ours, theirs, [])
    torch.testing.assert_close(torch.cat([u.A.grad for u in updates]), theirs.lora_A.grad, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.cat([u.B.grad for u in updates]), theirs.lora_B.grad, rtol=1e-5, atol=1e-5)
    ours.merge("a")
    theirs.eval()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def load_loralib(theirs: nn.Module, ours: AdaptedDense, A: Tensor, B: Tensor) -> None:
    theirs.weight.data = ours.weight.clone()
    theirs.bias.copy_(ours.bias)
    theirs.lora_A.copy_(A)
    theirs.lora_B.copy_(B)
