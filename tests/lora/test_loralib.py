"""loralib as the judge, and the authors' own RoBERTa-base MNLI checkpoint."""

from pathlib import Path

import loralib
import pytest
import torch
from torch import nn
from torch.testing import assert_close
from transformers import PreTrainedModel, RobertaConfig, RobertaForSequenceClassification

import lora
from lora.adapter_file import adapter_tensors
from lora.layer import adapted_layers
from lora.loralib import load_loralib
from tests.lora import adapted_models as tiny

RANK, ALPHA = 2, 6


def by_loralib(kind: str, enabled: list[bool] | None = None, pooler: bool = True) -> PreTrainedModel:
    """A tiny model with loralib's own layers in it, everything that trains disturbed."""
    model = tiny.model(kind)
    for name, module in list(model.named_modules()):
        if name.endswith(("self.query", "self.value")):
            layer = loralib.Linear(16, 16, r=RANK, lora_alpha=ALPHA, merge_weights=False)
        elif name.endswith("c_attn"):
            layer = loralib.MergedLinear(16, 48, r=RANK, lora_alpha=ALPHA, enable_lora=enabled,
                                         fan_in_fan_out=True, merge_weights=False)
        else:
            continue
        layer.load_state_dict(module.state_dict(), strict=False)
        model.set_submodule(name, layer)
    loralib.mark_only_lora_as_trainable(model)
    for name, parameter in model.named_parameters():
        head = name.startswith(("classifier", "score")) or (pooler and ".pooler." in name)
        parameter.requires_grad_(head or "lora_" in name)
    tiny.disturb([p for p in model.parameters() if p.requires_grad])
    return model


def write(model: nn.Module, file: Path, prefix: str = "") -> Path:
    """The trained tensors as loralib's scripts save them."""
    torch.save({prefix + name: p.detach() for name, p in model.named_parameters() if p.requires_grad}, file)
    return file


@pytest.mark.parametrize(("kind", "enabled", "fused"), [
    ("bert", None, None), ("roberta", None, None), ("gpt2", [True, False, True], None),
    ("gpt2", [True] * 3, None), ("gpt2", [False, True, True], ["k", "v"]),
    ("gpt2", [False, False, True], ["v"]),
    ("gpt2-lm", [True, False, True], None)])
def test_outputs_gradients_and_merged_weights_equal_loralibs(kind, enabled, fused, tmp_path: Path):
    theirs = by_loralib(kind, enabled)
    groups = load_loralib(ours := tiny.model(kind), write(theirs, tmp_path / "a.bin"), ALPHA, fused=fused)
    assert not torch.allclose(tiny.logits(tiny.model(kind)), tiny.logits(ours))
    assert_close(tiny.logits(ours), tiny.logits(theirs), rtol=1e-5, atol=1e-5)
    ids = torch.arange(21).view(3, 7) % 39 + 1
    for model in (ours, theirs):
        model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.square().mean().backward()
    wanted = {name: p.grad for name, p in theirs.named_parameters() if "lora_" in name}
    got = {name: p.grad for name, p in groups[0].parameters.items()}
    assert_close(sum(g.square().sum() for g in got.values()), sum(g.square().sum() for g in wanted.values()))
    lora.merge(ours)
    for name, layer in adapted_layers(ours):
        module = theirs.get_submodule(name)
        dW = module.merge_AB() if enabled else module.lora_B @ module.lora_A
        assert_close(layer.weight, module.weight + module.scaling * dW, rtol=1e-5, atol=1e-5)


def test_a_bert_file_without_its_pooler_leaves_the_pooler_frozen(tmp_path: Path):
    theirs = by_loralib("bert", pooler=False)
    groups = load_loralib(ours := tiny.model("bert"), write(theirs, tmp_path / "a.bin"), ALPHA)
    assert set(groups[-1].parameters) == {"classifier.weight", "classifier.bias"}
    assert_close(tiny.logits(ours), tiny.logits(theirs), rtol=1e-5, atol=1e-5)


def test_the_gpt2_scripts_wrapping_is_read(tmp_path: Path):
    theirs = by_loralib("gpt2-lm", [True, False, True])
    file = write(theirs, tmp_path / "a.pt", prefix="module.")
    torch.save({"model_state_dict": torch.load(file)}, file)
    load_loralib(ours := tiny.model("gpt2-lm"), file, ALPHA)
    assert_close(tiny.logits(ours), tiny.logits(theirs), rtol=1e-5, atol=1e-5)


def roberta_base(num_labels: int = 3) -> PreTrainedModel:
    """RoBERTa-base's shape, random weights, a small vocabulary."""
    with torch.device("meta"):
        model = RobertaForSequenceClassification(RobertaConfig(vocab_size=100, num_labels=num_labels))
    return model.to_empty(device="cpu")


def test_the_authors_checkpoint_loads_with_every_tensor_accounted_for(shared: Path):
    file = shared / "adapters" / "roberta_base_lora_mnli.bin"
    model = roberta_base()
    update, head = load_loralib(model, file, alpha=16)
    assert sum(p.numel() for p in update.parameters.values()) == 294_912
    assert sum(p.numel() for p in head.parameters.values()) == 592_899
    raw = torch.load(file, map_location="cpu", weights_only=True)
    for tensors in (raw, adapter_tensors(model)):
        assert sum(t.numel() for t in tensors.values()) == 887_811
    assert torch.equal(model.classifier.out_proj.weight, raw["classifier.out_proj.weight"])
    sites = {name: layer for name, layer in adapted_layers(model)}
    query = sites["roberta.encoder.layer.11.attention.self.query"]
    assert query.of("default")["q"].scaling == 2
    # authors.md section 8 prints singular values of B A, so before the scaling
    values = torch.linalg.svdvals(query.delta("default")) / 2
    assert_close(values[:3], torch.tensor([6.37, 0.52, 0.09]), rtol=0, atol=0.005)
    assert values[8:].max() < 1e-5
    values = torch.linalg.svdvals(sites["roberta.encoder.layer.5.attention.self.value"].delta("default")) / 2
    assert_close(values[[0, 7]], torch.tensor([2.43, 0.68]), rtol=0, atol=0.005)


def test_the_authors_checkpoint_does_not_fit_two_labels(shared: Path):
    with pytest.raises(ValueError, match=r"out_proj.weight is \(3, 768\), the model needs \(2, 768\)"):
        load_loralib(roberta_base(2), shared / "adapters" / "roberta_base_lora_mnli.bin", alpha=16)


def test_alpha_must_be_given(tmp_path: Path):
    file = write(by_loralib("bert"), tmp_path / "a.bin")
    with pytest.raises(ValueError, match=r"alpha is not stored in .*a.bin.*checkpoint: 16"):
        load_loralib(tiny.model("bert"), file)


@pytest.mark.parametrize(("change", "message"), [
    (lambda s: s.pop("classifier.bias"), r"lacks 1 tensors \['classifier.bias'\]"),
    (lambda s: s.update(other=torch.ones(1)), r"has 1 extra \['other'\]"),
    (lambda s: s.update({"bert.none.lora_A": torch.ones(2, 16), "bert.none.lora_B": torch.ones(16, 2)}),
     "no dense maps of this model: bert.none"),
    (lambda s: s.pop("bert.encoder.layer.0.attention.self.query.lora_B"), "lora_A without lora_B for .*que"),
    (lambda s: [s.pop(key) for key in list(s) if "lora_" in key], "no loralib checkpoint: it has no lora_A"),
    (lambda s: s.update(alpha=16), "holds 'alpha', which is no tensor"),
    (lambda s: s.update({f"module.{key}": value for key, value in s.items()}), "holds tensors twice, with and without"),
    (lambda s: s.update({"base_model.model.q.lora_A.weight": torch.ones(2, 16)}),
     "q.lora_A.weight, a tensor of PEFT: give the folder with its adapter_config.json"),
    (lambda s: s.update({"bert.encoder.layer.0.attention.self.query.weight": torch.ones(16, 16)}),
     "1 base weights that are not this model's, .*, bert.encoder.layer.0.attention.self.query.weight"),
])
def test_every_tensor_is_accounted_for(tmp_path: Path, change, message: str):
    file = write(by_loralib("bert"), tmp_path / "a.bin")
    change(state := torch.load(file))
    torch.save(state, file)
    with pytest.raises(ValueError, match=message):
        load_loralib(tiny.model("bert"), file, ALPHA)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_a_whole_state_dict_of_a_wrapped_model_loads(prefix: str, tmp_path: Path):
    """loralib's lora_state_dict leaves the base weights out; a plain state_dict() holds them too."""
    theirs = by_loralib("bert")
    torch.save({f"{prefix}{key}": value for key, value in theirs.state_dict().items()}, tmp_path / "a.bin")
    load_loralib(ours := tiny.model("bert"), tmp_path / "a.bin", ALPHA)
    assert_close(tiny.logits(ours), tiny.logits(theirs), rtol=1e-5, atol=1e-5)


def test_fused_parts_that_do_not_fit_are_refused(tmp_path: Path):
    file = write(by_loralib("gpt2", [True, False, True]), tmp_path / "a.bin")
    with pytest.raises(ValueError, match=r"2 parts of rank 2, while `fused` names 1 \(v\)"):
        load_loralib(tiny.model("gpt2"), file, ALPHA, fused=["v"])


def test_a_missing_or_truncated_file_is_refused(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no loralib checkpoint at .*none.bin"):
        load_loralib(tiny.model("bert"), tmp_path / "none.bin", ALPHA)
    file = write(by_loralib("bert"), tmp_path / "a.bin")
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"a.bin is truncated or not a checkpoint of tensors"):
        load_loralib(tiny.model("bert"), file, ALPHA)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path):
    torch.save({"lora_A": Path("x")}, tmp_path / "a.bin")
    with pytest.raises(ValueError, match="not a checkpoint of tensors: Weights only load failed"):
        load_loralib(tiny.model("bert"), tmp_path / "a.bin", ALPHA)
