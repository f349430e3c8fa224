"""Single base weights: equal to the model's own, whatever the file's prefix, shards and layout."""

import json
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.testing import assert_close
from transformers import GPT2LMHeadModel, GPTBigCodeForCausalLM

from analysis.adapters.base_weights import BaseWeights
from analysis.adapters.read import AdapterUpdates, read_updates
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


@pytest.mark.parametrize(("architecture", "linear"), [("gpt2", False), ("qwen", True), (None, False)])
def test_a_square_weight_of_ours_is_read_as_its_architecture_keeps_it(
        architecture: str | None, linear: bool, tmp_path: Path):
    adapter, _ = study("gpt2", tmp_path / "adapter", targets=["o"])
    file = tmp_path / "adapter" / "adapter.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"architecture": architecture}))
    update = read_updates(tmp_path / "adapter").updates[0]
    assert update.module == adapter.updates[0].module == C_PROJ
    stored = torch.randn(16, 16)
    assert torch.equal(base_of(tmp_path, {f"{C_PROJ}.weight": stored}).weight(update), stored if linear else stored.T)


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


def test_a_base_with_nan_is_refused_by_name(tmp_path: Path):
    adapter, _ = study("bert", tmp_path / "adapter")
    base = base_of(tmp_path, {"bert.encoder.layer.0.attention.self.query.weight": torch.full((16, 16), torch.nan)})
    with pytest.raises(ValueError, match=r"tensor bert.*query.weight of \S* holds NaN or infinite values"):
        base.weight(adapter.updates[0])


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_a_quantised_base_is_refused_by_name(dtype: torch.dtype, tmp_path: Path):
    adapter, _ = study("bert", tmp_path / "adapter")
    base = base_of(tmp_path, {"bert.encoder.layer.0.attention.self.query.weight": torch.ones(16, 16).to(dtype),
                              "bert.encoder.layer.0.attention.self.query.weight_scale": torch.tensor([0.1])})
    with pytest.raises(ValueError, match=rf"tensor bert.*query.weight of \S* is of {dtype}, whose numbers are not the "
                                         "values alone: it has to be one of float16, bfloat16, float32, float64"):
        base.weight(adapter.updates[0])


def test_a_base_that_is_zero_is_refused_by_name(tmp_path: Path):
    adapter, _ = study("bert", tmp_path / "adapter")
    base = base_of(tmp_path, {"bert.encoder.layer.0.attention.self.query.weight": torch.zeros(16, 16)})
    with pytest.raises(ValueError, match=r"tensor bert.*query.weight of \S* is zero here"):
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
