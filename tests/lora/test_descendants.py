"""DoRA, PiSSA, LoRA+ and rank-stabilised scaling: PEFT's own classes as the judge, and what holds for every adapter."""

import copy
import math
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft.optimizers import create_loraplus_optimizer
from torch import Tensor, nn
from torch.testing import assert_close
from transformers.pytorch_utils import Conv1D

import lora
from lora.count import count
from lora.layer import AdaptedDense
from lora.peft import load_peft, save_peft
from tests.lora import adapted_models as models
from tests.lora.extended import DORA, NEW_FUNCTIONS, PISSA, every
from tests.lora.layers import ALPHA, BASES, DEBERTA, GPT2, N_IN, RANK, WHOLE, adapted
from tests.lora.tiny import D, tiny


def peft_layer(base: nn.Module, fields: dict[str, Any], dropout: float) -> nn.Module:
    """PEFT's layer over `base`, which PiSSA changes; its initial B is not zero."""
    from peft.tuners.lora.layer import Linear

    conv = isinstance(base, Conv1D)
    config = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=dropout, use_dora=fields.get("dora", False),
                             init_lora_weights=fields.get("init", True), fan_in_fan_out=conv)
    layer = Linear(base, "default", config=config, r=RANK, lora_alpha=ALPHA, is_target_conv_1d_layer=conv)
    torch.manual_seed(5)
    with torch.no_grad():
        layer.lora_A["default"].weight += 0.3 * torch.randn(RANK, N_IN)
        layer.lora_B["default"].weight += 0.3 * torch.randn_like(layer.lora_B["default"].weight)
        if fields.get("dora"):
            layer.lora_magnitude_vector["default"].weight += 0.3 * torch.rand(12)
    return layer


def pair(kind: type, fields: dict[str, Any], dropout: float = 0.0) -> tuple[AdaptedDense, nn.Module, dict[str, Any]]:
    """Ours and PEFT's layer with the same weights, and PEFT's parameters by our names."""
    ours = adapted(kind, dtype=torch.float32, std=0.0, dropout=dropout, **fields)
    theirs = peft_layer(copy.deepcopy(ours.base), fields, dropout)
    named = {"A": theirs.lora_A["default"].weight, "B": theirs.lora_B["default"].weight}
    if fields.get("dora"):
        named["magnitude"] = theirs.lora_magnitude_vector["default"].weight
    with torch.no_grad():
        for name, parameter in ours.of("a")["weight"].named_parameters():
            parameter.copy_(named[name])
    return ours, theirs, named


@NEW_FUNCTIONS
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("kind", BASES)
def test_outputs_gradients_and_merged_weights_are_pefts(kind: type, dropout: float, fields: dict[str, Any]) -> None:
    ours, theirs, named = pair(kind, fields, dropout)
    x, seen = torch.randn(3, 5, N_IN), []
    for layer in (ours, theirs):
        inputs = x.clone().requires_grad_()
        torch.manual_seed(7)  # of dropout
        h = layer.train()(inputs)
        h.square().mean().backward()
        seen.append((h.detach(), inputs.grad))
    assert_close(seen[0], seen[1], rtol=1e-5, atol=1e-5)
    for name, parameter in ours.of("a")["weight"].named_parameters():
        assert parameter.grad.abs().max() > 0
        assert_close(parameter.grad, named[name].grad, rtol=1e-5, atol=1e-5)
    before = ours.weight.clone()
    ours.merge("a")
    theirs.merge()
    assert_close(ours.weight, theirs.base_layer.weight, rtol=1e-5, atol=1e-5)
    ours.unmerge()
    assert torch.equal(ours.weight, before)


def test_pissa_starts_with_the_largest_singular_directions_as_peft_does() -> None:
    ours = adapted(dtype=torch.float32, std=0.0, **PISSA)
    ours = AdaptedDense(ours.base)
    ours.add("a", "weight", WHOLE["weight"], rank=RANK, alpha=ALPHA, dropout=0.0, init="pissa", rank_stabilised=False,
             dora=False)
    update = ours.of("a")["weight"]
    config = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, init_lora_weights="pissa")
    from peft.tuners.lora.layer import Linear

    theirs = Linear(copy.deepcopy(ours.base), "default", config=config, r=RANK, lora_alpha=ALPHA)
    assert_close(update.A, theirs.lora_A["default"].weight, rtol=1e-5, atol=1e-6)
    assert_close(update.B, theirs.lora_B["default"].weight, rtol=1e-5, atol=1e-6)
    U, S, Vh = torch.linalg.svd(ours.base.weight.double())
    kept = (U[:, :RANK] * S[:RANK]) @ Vh[:RANK]  # the closest matrix of this rank (Eckart and Young)
    assert_close((ALPHA / RANK * update.B @ update.A).double(), kept, rtol=1e-4, atol=1e-5)


@NEW_FUNCTIONS
@pytest.mark.parametrize("parts", [WHOLE, GPT2, DEBERTA], ids=["whole", "gpt2", "deberta"])
@pytest.mark.parametrize("kind", BASES)
def test_at_the_start_the_output_is_the_bases_bit_for_bit(kind: type, parts: dict, fields: dict[str, Any]) -> None:
    layer = AdaptedDense(adapted(kind).base.requires_grad_(False))
    for role, part in parts.items():
        layer.add("a", role, part, rank=RANK, alpha=ALPHA, dropout=0.0, rank_stabilised=False,
                  **{"init": "kaiming", "dora": False} | fields)
    layer.activate("a")
    x = torch.randn(4, N_IN, dtype=torch.float64)
    assert torch.equal(layer(x), layer.base(x))


@NEW_FUNCTIONS
@pytest.mark.parametrize("layout", [GPT2, DEBERTA], ids=["gpt2", "deberta"])
@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("bias", [True, False])
def test_a_slice_of_a_fused_projection_is_adapted_as_a_layer_of_its_own(kind: type, layout: dict, bias: bool,
                                                                        fields: dict[str, Any]) -> None:
    """The norm of DoRA is one of each output's row, so a slice has magnitudes of its own, and PiSSA its own SVD."""
    fused = adapted(kind, {"v": layout["v"]}, std=0.0, **fields)
    fused.base.bias = fused.base.bias if bias else None
    if not bias and kind is Conv1D:
        pytest.skip("Conv1D has always a bias")
    rows = layout["v"].of(torch.arange(12)).flatten()
    alone = nn.Linear(N_IN, 4, bias=bias, dtype=torch.float64)
    with torch.no_grad():
        alone.weight.copy_(fused.frozen_weight[rows])
        if bias:
            alone.bias.copy_(fused.bias[rows])
    separate = AdaptedDense(alone.requires_grad_(False))
    separate.add("a", "weight", WHOLE["weight"], rank=RANK, alpha=ALPHA, dropout=0.0, rank_stabilised=False,
                 **{"init": "kaiming", "dora": False} | fields)
    separate.activate("a")
    with torch.no_grad():
        for one, other in zip(fused.of("a")["v"].parameters(), separate.of("a")["weight"].parameters(), strict=True):
            one += torch.rand_like(one)
            other.copy_(one)
    x = torch.randn(5, N_IN, dtype=torch.float64)
    plain, h = fused.base(x), fused(x)
    assert not torch.allclose(h[:, rows], plain[:, rows])
    assert_close(h[:, rows], separate(x))
    others = [row for row in range(12) if row not in rows]
    assert torch.equal(h[:, others], plain[:, others])
    h.square().sum().backward()
    separate(x).square().sum().backward()
    for one, other in zip(fused.of("a")["v"].parameters(), separate.of("a")["weight"].parameters(), strict=True):
        assert_close(one.grad, other.grad)
    fused.eval().merge("a")
    assert_close(fused(x.detach()).detach(), h.detach())


@NEW_FUNCTIONS
def test_peft_reads_ours_and_we_read_pefts(fields: dict[str, Any], tmp_path: Path) -> None:
    """GPT-2's fused projection is one module to PEFT, and two updates to us."""
    for kind in ("bert", "gpt2"):
        model = models.adapted(kind, models.method(rank={"q": 1, "v": 3}, alpha={"q": 2.0, "v": 5.0}, **fields))
        wanted = models.logits(model)
        assert not torch.allclose(models.logits(models.model(kind)), wanted, atol=1e-2)
        save_peft(model, tmp_path / kind)
        theirs = peft.PeftModel.from_pretrained(models.model(kind), tmp_path / kind).eval()
        assert_close(models.logits(theirs), wanted, rtol=1e-5, atol=1e-5)
        assert_close(models.logits(theirs.merge_and_unload()), wanted, rtol=1e-5, atol=1e-5)
        load_peft(again := models.model(kind), tmp_path / kind)
        assert_close(models.logits(again), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", [{"use_dora": True}, {"init_lora_weights": "pissa"},
                                     {"use_dora": True, "init_lora_weights": "pissa", "use_rslora": True}])
@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_what_peft_trained_comes_to_us(kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    targets = {"bert": ["query", "value"], "gpt2": ["c_attn"]}[kind]
    config = peft.LoraConfig(r=2, lora_alpha=6, target_modules=targets, fan_in_fan_out=kind == "gpt2",
                             task_type="SEQ_CLS", **options)
    theirs = peft.get_peft_model(models.model(kind), config).eval()
    models.disturb([p for p in theirs.parameters() if p.requires_grad])
    theirs.save_pretrained(tmp_path)
    load_peft(ours := models.model(kind), tmp_path)
    assert_close(models.logits(ours), models.logits(theirs), rtol=1e-5, atol=1e-5)
    lora.merge(ours)
    assert_close(models.logits(ours), models.logits(theirs), rtol=1e-5, atol=1e-5)


def test_pissa_of_whole_matrices_is_pefts_pissa_and_of_slices_a_lora_of_twice_the_rank(tmp_path: Path) -> None:
    for kind, init, rank in (("bert", "pissa", 2), ("gpt2", True, 2 * (2 + 2))):
        save_peft(models.adapted(kind, models.method(init="pissa")), tmp_path / kind)
        config = peft.PeftConfig.from_pretrained(tmp_path / kind)
        assert (config.init_lora_weights, config.r) == (init, rank)


def test_a_random_decomposition_cannot_be_taken_over(tmp_path: Path) -> None:
    config = peft.LoraConfig(r=2, target_modules=["query"], init_lora_weights="pissa_niter_4")
    peft.get_peft_model(models.model("bert"), config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="init_lora_weights='pissa_niter_4', which may change the base weights"):
        load_peft(models.model("bert"), tmp_path)


@every
def test_magnitudes_are_counted_and_what_pissa_takes_out_of_the_base_is_not(fields: dict[str, Any]) -> None:
    with torch.device("meta"):
        model = tiny("gpt2")
    counted = count(model, models.method(**fields), "train")
    magnitudes = 2 * 2 * D if fields.get("dora") else 0  # layers, q and v, outputs
    assert counted.trainable == 2 * 2 * 2 * (D + D) + magnitudes
    assert counted.adapter_bytes_fp32 == 4 * counted.trainable


def test_loraplus_moves_B_as_pefts_optimizer_does() -> None:
    """One step of plain gradient descent shows each parameter's rate."""
    ours = models.adapted("bert", models.method(learning_rate_scale_B=16), "frozen")
    config = peft.LoraConfig(r=2, lora_alpha=6, target_modules=["query", "value"])
    theirs = peft.get_peft_model(models.model("bert"), config)
    made = create_loraplus_optimizer(theirs, torch.optim.SGD, lr=0.5, loraplus_lr_ratio=16)
    rates = {id(p): group["lr"] for group in made.param_groups for p in group["params"]}
    wanted = {name.replace("base_model.model.", "").replace(".lora_", ".").replace(".default.weight", ""):
              rates[id(p)] for name, p in theirs.named_parameters() if p.requires_grad}
    groups = lora.bank.bank(ours).adapters["default"].method.groups(
        {name: p for name, p in ours.named_parameters() if ".updates." in name})
    found = {name.replace(".updates.default.q", "").replace(".updates.default.v", ""): 0.5 * group.learning_rate_scale
             for group in groups for name in group.parameters}
    assert found == wanted
    assert set(found.values()) == {0.5, 8.0}


def test_rank_stabilised_scaling_is_that_of_the_paper() -> None:
    model = models.adapted("bert", models.method(rank=4, alpha=6, rank_stabilised=True))
    assert {u.scaling for _, layer in lora.adapted_layers(model) for u in layer.of("default").values()} \
        == {6 / math.sqrt(4)}


def test_dora_is_refused_where_a_row_has_no_direction() -> None:
    model = tiny("roberta")
    query = model.get_submodule("roberta.encoder.layer.1.attention.self.query")
    with torch.no_grad():
        query.weight[3] = 0
    with pytest.raises(ValueError, match=r"layer\.1\.attention\.self\.query \(q\): dora needs directions, and row 3"):
        models.method(dora=True).apply(model, pooler="train")
    assert lora.adapters(model) == []


def test_a_failure_in_the_middle_of_the_model_leaves_it_as_it_was() -> None:
    model = tiny("roberta")
    value = model.get_submodule("roberta.encoder.layer.1.attention.self.value")
    with torch.no_grad():
        before = value.weight[0, 0].clone()
        value.weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"layer\.1\.attention\.self\.value \(v\): pissa needs .* W0 has a number"):
        models.method(init="pissa").apply(model, pooler="train")
    with torch.no_grad():
        value.weight[0, 0] = before
    assert not [name for name, _ in model.named_parameters() if ".updates." in name]
    models.method(init="pissa").apply(model, pooler="train")


@pytest.mark.parametrize(("fields", "message"), [
    ({"learning_rate_scale_B": 0}, "learning_rate_scale_B 0 is not a number above 0"),
    ({"learning_rate_scale_B": "16"}, "learning_rate_scale_B '16' is not a number above 0"),
    ({"dora": "yes"}, "dora 'yes' is not true or false"),
])
def test_a_bad_option_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        models.method(**fields)


def norms(W: Tensor) -> Tensor:
    return W.norm(dim=1)


def test_a_merged_dora_matrix_has_rows_of_the_trained_magnitudes() -> None:
    layer = adapted(**DORA)
    update = layer.of("a")["weight"]
    with torch.no_grad():
        update.magnitude.copy_(torch.arange(1.0, 13.0))
    layer.merge("a")
    assert_close(norms(layer.weight), torch.arange(1.0, 13.0, dtype=torch.float64))
