"""A weight file is read whole, as the numbers that it holds, or it is refused by the name of what cannot be."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from tests.experiments.models.made import load, model_config
from tests.experiments.models.tiny_classifiers import tiny_config

Tensors = dict[str, torch.Tensor]
QUERY = "encoder.layer.0.attention.self.query"


def base(folder: Path, kind: str = "bert", change: Callable[[Tensors], Tensors] = dict) -> Path:
    """A tiny base model in a folder, its tensors changed."""
    AutoModel.from_config(tiny_config(kind)).save_pretrained(folder)
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def loaded(folder: Path) -> torch.nn.Module:
    return load(model_config("local", path=str(folder), attention="eager"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_of_any_width_are_the_values(dtype: torch.dtype, tmp_path: Path):
    folder = base(tmp_path, change=lambda saved: {key: tensor.to(dtype) for key, tensor in saved.items()})
    saved, state = load_file(folder / "model.safetensors"), loaded(folder).base_model.state_dict()
    for key, tensor in saved.items():
        assert torch.equal(state[key], tensor.float())


@pytest.mark.parametrize(("dtype", "word"), [(torch.int8, "I8"), (torch.float8_e4m3fn, "F8_E4M3")])
def test_weights_whose_values_are_kept_by_scales_are_refused(dtype: torch.dtype, word: str, tmp_path: Path):
    base(tmp_path, change=lambda saved: saved | {f"{QUERY}.weight": saved[f"{QUERY}.weight"].to(dtype)})
    with pytest.raises(ValueError, match=rf"has {QUERY}.weight of {word}, whose numbers are not the values"):
        loaded(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(value: float, tmp_path: Path):
    base(tmp_path, change=lambda saved: saved | {f"{QUERY}.bias": saved[f"{QUERY}.bias"].fill_(value)})
    with pytest.raises(ValueError, match=f"has NaN or infinite values in bert.{QUERY}.bias"):
        loaded(tmp_path)


@pytest.mark.parametrize(("kind", "name"), [
    ("llama", "layers.1.self_attn.q_proj.bias"),  # its config says that it has none
    ("llama", "norm.bias"),
    ("bert", f"{QUERY}.lora_A.default.weight"),
    ("bert", "bert.encoder.layer.1.attention.self.distance_embedding.weight"),  # relative positions, which it had once
    ("bert", "embeddings.word_embeddings.weight_scale"),
])
def test_a_tensor_of_the_base_without_a_place_is_refused(kind: str, name: str, tmp_path: Path):
    base(tmp_path, kind, lambda saved: saved | {name: torch.ones(2)})
    with pytest.raises(ValueError, match=f"tensors that a {kind} model of its config.json has no place for: {name}"):
        loaded(tmp_path)


@pytest.mark.parametrize(("kind", "names"), [
    ("gpt2", ["h.0.attn.bias", "h.1.attn.masked_bias"]), ("llama", ["layers.0.self_attn.rotary_emb.inv_freq"]),
    ("bert", ["embeddings.position_ids", "cls.predictions.bias", "cls.seq_relationship.weight", "pooler_of_old.bias"]),
    ("roberta", ["pooler.dense.weight", "lm_head.dense.weight"]),
])
def test_masks_positions_and_other_heads_of_a_file_are_not_missed(kind: str, names: list[str], tmp_path: Path):
    base(tmp_path, kind, lambda saved: saved | {name: torch.ones(2) for name in names})
    saved, state = load_file(tmp_path / "model.safetensors"), loaded(tmp_path).base_model.state_dict()
    assert all(torch.equal(state[key], saved[key]) for key in state)


def test_a_file_that_is_cut_is_named(tmp_path: Path):
    path = base(tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"model\.safetensors is truncated or not a safetensors file"):
        loaded(tmp_path)


@pytest.mark.parametrize(("index", "error", "message"), [
    ({"metadata": {}, "weight_map": {"a": "one.safetensors", "b": "other.safetensors"}}, FileNotFoundError,
     r"index\.json names other\.safetensors, which .* does not have"),
    ({"metadata": {}, "weight_map": {}}, ValueError, "is no index of shards"),
    ({"weight_map": {"a": "one.safetensors"}}, ValueError, "is no index of shards")])
def test_an_index_that_is_not_whole_is_named(index: dict, error: type[Exception], message: str, tmp_path: Path):
    (base(tmp_path) / "model.safetensors").rename(tmp_path / "one.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(error, match=message):
        loaded(tmp_path)


def test_the_class_of_the_weights_must_be_of_the_model_type(tmp_path: Path):
    """Files of BERT and RoBERTa have the same names and shapes, and the two number positions differently."""
    file = base(tmp_path) / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_type": "roberta"}))
    with pytest.raises(ValueError, match="model_type 'roberta', and its architectures BertModel, which is of 'bert'"):
        loaded(tmp_path)
