"""Single base weights: equal to the model's own, whatever the file's prefix, shards and layout."""

import json
from dataclasses import replace
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import GPT2LMHeadModel, GPTBigCodeForCausalLM

from analysis.adapters.base_weights import BaseWeights
from analysis.adapters.read import AdapterUpdates, read_updates
from analysis.adapters.updates import Update
from analysis.linalg.amplify import amplification
from lora.adapter_file import save_adapter
from lora.layer import adapted_layers
from tests.conftest import ROOT
from tests.lora import adapted_models as tiny

ALL = ["q", "k", "v", "o", "fc1", "fc2"]


def study(kind: str, folder: Path, **fields: object) -> tuple[AdapterUpdates, dict[str, Tensor]]:
    """An adapter, and each matrix's W0 (n_part, n_in) by site from the live model."""
    model = tiny.adapted(kind, tiny.method(**fields))
    weights = {f"{module}.{role}": update.part.of(layer.frozen_weight, 0).reshape(len(update.B), -1).detach()
               for module, layer in adapted_layers(model) for role, update in layer.of("default").items()}
    return read_updates(save_adapter(model, folder, base={})), weights


@pytest.mark.parametrize("kind", ["bert", "roberta", "deberta", "deberta-v2", "gpt2", "gpt2-lm"])
@pytest.mark.parametrize("prefix", ["kept", "dropped", "more"])
def test_every_weight_is_the_models_own(kind: str, prefix: str, tmp_path: Path):
    adapter, weights = study(kind, tmp_path / "adapter", targets=ALL)
    model = tiny.model(kind)
    if prefix == "kept":
        model.save_pretrained(tmp_path / "base")
    elif prefix == "dropped":
        model.base_model.save_pretrained(tmp_path / "base")
    else:
        (tmp_path / "base").mkdir()
        save_file({f"wrapped.{k}": v.contiguous() for k, v in model.state_dict().items() if "lm_head" not in k},
                  tmp_path / "base" / "model.safetensors")
    base = BaseWeights(tmp_path / "base")
    assert len(adapter.updates) == 12
    for update in adapter.updates:
        assert torch.equal(base.weight(update), weights[f"{update.module}.{update.role}"])


def test_a_fused_projection_that_is_no_conv1d_is_told_by_its_shape(tmp_path: Path):
    adapter, _ = study("gpt2", tmp_path / "adapter", targets=["v"])
    stored = torch.randn(48, 16)  # as nn.Linear keeps it
    base = base_of(tmp_path, {"h.0.attn.c_attn.weight": stored})
    assert torch.equal(base.weight(adapter.updates[0]), stored[32:])


C_PROJ = "transformer.h.0.attn.c_proj"


@pytest.mark.parametrize("linear", [True, False])
def test_a_square_weight_is_read_as_the_layer_that_peft_adapted_keeps_it(linear: bool, tmp_path: Path):
    """GPTBigCode's c_proj is an nn.Linear, (n_out, n_in); GPT-2's of the same name is a Conv1D, (n_in, n_out)."""
    kind = GPTBigCodeForCausalLM if linear else GPT2LMHeadModel
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 4, "n_positions": 20, "vocab_size": 40}
    model = kind(kind.config_class(**sizes))
    model.save_pretrained(tmp_path / "base")
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["attn.c_proj"]))
    tiny.disturb([p for p in adapted.parameters() if p.requires_grad])
    adapted.save_pretrained(tmp_path / "adapter")
    layer = adapted.get_submodule(f"base_model.model.{C_PROJ}")
    columns = layer.base_layer(torch.eye(16)) - layer.base_layer.bias      # (n_in, n_out)
    [update] = read_updates(tmp_path / "adapter").updates
    assert_close(BaseWeights(tmp_path / "base").weight(update), columns.T.detach())


@pytest.mark.parametrize(("architecture", "linear"), [("gpt2", False), ("qwen", True)])
def test_a_square_weight_of_ours_is_read_as_its_architecture_keeps_it(
        architecture: str, linear: bool, tmp_path: Path):
    update = of_architecture(tmp_path, architecture)
    stored = torch.randn(16, 16)
    assert torch.equal(base_of(tmp_path, {f"{C_PROJ}.weight": stored}).weight(update), stored if linear else stored.T)


def of_architecture(folder: Path, architecture: str | None) -> Update:
    """The update of a c_proj in an adapter of ours that says it is of this architecture."""
    study("gpt2", folder / "adapter", targets=["o"])
    file = folder / "adapter" / "adapter.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"architecture": architecture}))
    update = read_updates(folder / "adapter").updates[0]
    assert update.module == C_PROJ
    return update


def loralib_update(folder: Path, module: str, n_in: int, n_out: int) -> Update:
    """The update of one module in a state dict, which says nothing of the base."""
    torch.save({f"{module}.lora_A": torch.randn(2, n_in), f"{module}.lora_B": torch.randn(n_out, 2)}, folder / "a.bin")
    return read_updates(folder / "a.bin", alpha=4).updates[0]


WEIGHT = torch.randn(16, 16)
NEIGHBOURS: dict[str, tuple[str, dict[str, nn.Module]]] = {
    "bias of c_attn": ("h.1.attn.c_proj", {"h.1.attn.c_attn": nn.Linear(16, 48)}),
    "no biases": ("h.1.attn.c_proj", {"h.1.attn.c_attn": nn.Linear(16, 48, bias=False)}),
    "Llama": ("layers.1.self_attn.q_proj", {"layers.1.self_attn.k_proj": nn.Linear(16, 4, bias=False),
                                            "layers.1.mlp.down_proj": nn.Linear(32, 16, bias=False)}),
    "unknown names": ("blocks.1.mix.out", {"blocks.1.mix.wide": nn.Linear(16, 24)}),
    "narrow, not by its role": ("layer.1.attention.self.key", {"layer.1.attention.self.value": nn.Linear(32, 16)}),
}


@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize(("square", "others"), NEIGHBOURS.values(), ids=NEIGHBOURS)
def test_a_square_weight_is_read_as_the_others_of_its_layer(square: str, others: dict[str, nn.Module], linear: bool,
                                                            tmp_path: Path):
    """Whatever the layer's modules are called, and the adapter does not say it."""
    update = loralib_update(tmp_path, square, 16, 16)
    tensors = {f"{name}.{key}": p.detach() for name, module in others.items() for key, p in module.named_parameters()}
    tensors |= {f"{square}.weight": WEIGHT, f"{square}.bias": torch.ones(16)}
    stored = {key: tensor if linear or tensor.dim() == 1 else tensor.T.contiguous() for key, tensor in tensors.items()}
    assert torch.equal(base_of(tmp_path, stored).weight(update), WEIGHT)


@pytest.mark.parametrize("linear", [True, False])
def test_a_square_weight_is_read_as_the_adapted_others_of_its_layer(linear: bool, tmp_path: Path):
    square, other = loralib_update(tmp_path, "layers.0.a", 16, 16), loralib_update(tmp_path, "layers.0.b", 16, 24)
    stored = {"layers.0.a.weight": WEIGHT, "layers.0.b.weight": torch.randn(24, 16)}
    save_file({key: tensor if linear else tensor.T.contiguous() for key, tensor in stored.items()},
              tmp_path / "model.safetensors")
    assert torch.equal(BaseWeights(tmp_path, [square, other]).weight(square), WEIGHT)


def test_the_layer_is_believed_more_than_the_one_flag_of_an_adapter(tmp_path: Path):
    """PEFT writes fan_in_fan_out for all layers: True of a GPT-2 whose layers were converted to nn.Linear."""
    update = replace(loralib_update(tmp_path, C_PROJ, 16, 16), transposed=True)
    stored = {f"{C_PROJ}.weight": WEIGHT, "transformer.h.0.mlp.c_fc.weight": torch.randn(64, 16)}
    assert torch.equal(base_of(tmp_path, stored).weight(update), WEIGHT)


@pytest.mark.parametrize("others", [{}, {"transformer.h.0.mlp.c_fc.weight": torch.ones(16, 16)},
                                    {"transformer.h.1.mlp.c_fc.weight": torch.ones(64, 16)}])
def test_a_square_weight_of_which_nothing_tells_is_refused_until_said(others: dict[str, Tensor], tmp_path: Path):
    message = r"c_proj.weight of \S* is square, and nothing tells whether .*: transposed=false says that it is"
    base = base_of(tmp_path, {f"{C_PROJ}.weight": WEIGHT} | others)
    for update in (loralib_update(tmp_path, C_PROJ, 16, 16), of_architecture(tmp_path, None)):
        with pytest.raises(ValueError, match=message):
            base.weight(update)
        for transposed in (True, False):
            W = BaseWeights(tmp_path, transposed=transposed).weight(update)
            assert torch.equal(W, WEIGHT.T if transposed else WEIGHT)


def test_the_config_beside_the_weights_tells_where_no_layer_is_a_conv1d(tmp_path: Path):
    update = loralib_update(tmp_path, "encoder.block.0.layer.0.SelfAttention.q", 16, 16)
    base = base_of(tmp_path, {f"{update.module}.weight": WEIGHT})
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(ValueError, match="is square, and nothing tells"):
        base.weight(update)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    assert torch.equal(base.weight(update), WEIGHT)


def test_a_layer_of_both_kinds_is_refused(tmp_path: Path):
    base = base_of(tmp_path, {f"{C_PROJ}.weight": WEIGHT, "transformer.h.0.mlp.c_fc.weight": torch.ones(64, 16),
                              "transformer.h.0.attn.c_attn.weight": torch.ones(16, 48)})
    with pytest.raises(ValueError, match=r"is square, and of its layer, \S*c_fc.weight and \S*c_attn.weight are"):
        base.weight(loralib_update(tmp_path, C_PROJ, 16, 16))


def test_parts_of_a_fused_projection_are_cut_by_hand(tmp_path: Path):
    adapter, _ = study("gpt2", tmp_path / "adapter", targets=["k"])
    (model := tiny.model("gpt2")).save_pretrained(tmp_path / "base")
    stored = model.transformer.h[0].attn.c_attn.weight                     # (n_in, 3 n_in)
    assert_close(BaseWeights(tmp_path / "base").weight(adapter.updates[0]), stored[:, 16:32].T)


def test_shards_are_read_by_their_index(tmp_path: Path):
    adapter, weights = study("roberta", tmp_path / "adapter")
    tiny.model("roberta").save_pretrained(tmp_path / "base", max_shard_size="10KB")
    files = sorted(path.name for path in (tmp_path / "base").glob("*.safetensors"))
    assert len(files) > 1
    for path in (tmp_path / "base", tmp_path / "base" / "model.safetensors.index.json"):
        base = BaseWeights(path)
        assert all(torch.equal(base.weight(u), weights[f"{u.module}.{u.role}"]) for u in adapter.updates)
    (tmp_path / "base" / files[0]).unlink()
    with pytest.raises(FileNotFoundError, match=rf"base lacks {files[0]}, which model.safetensors.index.json names"):
        BaseWeights(tmp_path / "base")


def test_half_precision_weights_come_in_fp32(tmp_path: Path):
    adapter, weights = study("bert", tmp_path / "adapter")
    tiny.model("bert").bfloat16().save_pretrained(tmp_path / "base")
    W = BaseWeights(tmp_path / "base" / "model.safetensors").weight(adapter.updates[0])
    assert W.dtype == torch.float32
    assert_close(W, weights[f"{adapter.updates[0].module}.q"], rtol=0.01, atol=0.01)


def test_amplification_needs_nothing_but_the_two_files(tmp_path: Path):
    adapter, weights = study("gpt2", tmp_path / "adapter")
    tiny.model("gpt2").save_pretrained(tmp_path / "base")
    base = BaseWeights(tmp_path / "base")
    for u in adapter.updates:
        assert u.scaling is not None
        found = amplification(base.weight(u), u.A, u.B, u.scaling)
        dW, W = u.scaling * (u.B @ u.A), weights[f"{u.module}.{u.role}"]
        U, _, Vh = torch.linalg.svd(dW)
        wanted = dW.norm() / (U[:, :2].T @ W @ Vh[:2].T).norm()
        assert found.factors[-1].item() == pytest.approx(wanted.item(), rel=1e-4)


def base_of(folder: Path, tensors: dict[str, Tensor]) -> BaseWeights:
    save_file(tensors, folder / "model.safetensors")
    return BaseWeights(folder)


def test_a_missing_tensor_is_named_with_the_nearest(tmp_path: Path):
    adapter, _ = study("bert", tmp_path / "adapter")
    base = base_of(tmp_path, {"encoder.layer.0.attention.self.key.weight": torch.ones(16, 16),
                              "dense.weight": torch.ones(16, 16)})
    with pytest.raises(ValueError, match=r"has no tensor bert.encoder.layer.0.attention.self.query.weight; "
                                         r"the nearest is encoder.layer.0.attention.self.key.weight"):
        base.weight(adapter.updates[0])


def test_a_tensor_outside_the_layers_never_stands_for_one_inside(tmp_path: Path):
    adapter, _ = study("bert", tmp_path / "adapter", targets=["o"])
    with pytest.raises(ValueError, match=r"has no tensor bert.encoder.layer.0.attention.output.dense.weight"):
        base_of(tmp_path, {"dense.weight": torch.ones(16, 16)}).weight(adapter.updates[0])


def test_a_base_of_another_size_is_refused_by_name(tmp_path: Path):
    adapter, _ = study("bert", tmp_path / "adapter")
    base = base_of(tmp_path, {"bert.encoder.layer.0.attention.self.query.weight": torch.ones(16, 24)})
    with pytest.raises(ValueError, match=r"query.weight of \S* is \(16, 24\): the update of \S*query needs \(16, 16\)"):
        base.weight(adapter.updates[0])


@pytest.mark.parametrize(("value", "fault"), [(torch.nan, "holds NaN or infinite values"),
                                              (torch.inf, "holds NaN or infinite values"), (0.0, "is zero here")])
def test_a_base_without_usable_numbers_is_refused_by_name(value: float, fault: str, tmp_path: Path):
    adapter, _ = study("bert", tmp_path / "adapter")
    base = base_of(tmp_path, {"bert.encoder.layer.0.attention.self.query.weight": torch.full((16, 16), value)})
    with pytest.raises(ValueError, match=rf"tensor bert.*query.weight of \S* {fault}"):
        base.weight(adapter.updates[0])


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_a_quantised_base_is_refused_by_name(dtype: torch.dtype, tmp_path: Path):
    adapter, _ = study("bert", tmp_path / "adapter")
    base = base_of(tmp_path, {"bert.encoder.layer.0.attention.self.query.weight": torch.ones(16, 16).to(dtype),
                              "bert.encoder.layer.0.attention.self.query.weight_scale": torch.tensor([0.1])})
    with pytest.raises(ValueError, match=rf"tensor bert.*query.weight of \S* is of {dtype}, whose numbers are not the "
                                         "values alone: it has to be one of float16, bfloat16, float32, float64"):
        base.weight(adapter.updates[0])


def test_a_base_that_cannot_be_read_is_refused(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"none does not exist: base weights are read from safetensors only"):
        BaseWeights(tmp_path / "none")
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"has no model.safetensors: base weights are read from safetensors"):
        BaseWeights(tmp_path)
    with pytest.raises(ValueError, match=r"pytorch_model.bin is truncated or not a safetensors file"):
        BaseWeights(tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({}))
    with pytest.raises(ValueError, match=r"is not an index of safetensors files: KeyError\('weight_map'\)"):
        BaseWeights(tmp_path)


def test_our_shipped_models_are_read(tmp_path: Path):
    folder = ROOT / "results" / "nano" / "pretrained" / "gpt2-nano"
    if not folder.is_dir():
        pytest.skip("needs the pre-trained nano models")
    adapter, _ = study("gpt2-lm", tmp_path)
    base = BaseWeights(folder)
    assert base.name_of(adapter.updates[0].module) == "transformer.h.0.attn.c_attn.weight"
