"""Every tensor that a classifier has and its base model's file has not is in the head, which trains and is saved."""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModel, AutoModelForSequenceClassification, PreTrainedModel

from experiments.models.load import load_base
from lora.adapter_file import load_adapter, save_adapter
from lora.methods.base import Method
from lora.sites import head_modules
from tests.experiments.models.made import model_config
from tests.experiments.models.tiny_classifiers import ARCHITECTURES, LARGE, tiny_config

LABELS = ["a", "b", "c"]
# of which a part of the base model is made for the classifier alone, so that no file of the base model has it
REFUSED = {"perceiver": r"lacks \d+ tensors of the base model.*perceiver\.decoder"}


def loaded(folder: Path, **changes: object) -> tuple[PreTrainedModel, list[str]]:
    cfg = model_config("local", path=str(folder), attention="eager", **changes)
    return load_base(cfg, "classification", len(LABELS), LABELS)


@dataclass(frozen=True, kw_only=True)
class HeadAlone(Method):
    """A method with nothing of its own."""


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The head's parameters."""
    _, head = HeadAlone(name="head").apply(model, pooler="train")
    assert head.head
    return head.parameters


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name not in LARGE])
def test_what_the_file_lacks_trains_and_comes_back_from_the_adapter(architecture: str, tmp_path: Path) -> None:
    AutoModel.from_config(tiny_config(architecture)).save_pretrained(tmp_path / "base")
    if architecture in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[architecture]):
            loaded(tmp_path / "base")
        return
    model, new = loaded(tmp_path / "base")
    again = copy.deepcopy(model)
    parameters = trained(model)
    assert new
    assert set(new) <= parameters.keys()
    assert all(parameter.requires_grad for parameter in parameters.values())
    for parameter in parameters.values():
        nn.init.normal_(parameter)
    save_adapter(model, tmp_path / "adapter", base={"name": "tiny"})
    load_adapter(again, tmp_path / "adapter")
    for name, parameter in again.named_parameters():
        if name in parameters:
            assert torch.equal(parameter, parameters[name])


@pytest.mark.parametrize("architecture", LARGE)
def test_what_a_base_model_lacks_is_the_head_of_a_classifier_without_numbers(architecture: str) -> None:
    with torch.device("meta"):
        body = AutoModel.from_config(tiny_config(architecture))
        model = AutoModelForSequenceClassification.from_config(tiny_config(architecture))
    heads = tuple(f"{name}." for name in head_modules(model, "train"))
    theirs = {f"{model.base_model_prefix}.{name}" for name, _ in body.named_parameters()}
    beside = {name for name, _ in model.named_parameters()} - theirs
    assert beside
    assert all(name.startswith(heads) for name in beside)


def test_an_output_layer_is_new_whatever_the_file_has_and_the_layer_before_it_is_the_files(tmp_path: Path) -> None:
    config = tiny_config("distilbert")
    body = AutoModel.from_config(config)
    for folder, rows in (("ab", slice(None)), ("ba", [1, 0, 2]), ("two", slice(2))):  # other orders, and fewer labels
        torch.manual_seed(1)
        config.num_labels = 2 if folder == "two" else 3
        theirs = AutoModelForSequenceClassification.from_config(config)
        theirs.distilbert.load_state_dict(body.state_dict())
        theirs.classifier.weight.data = theirs.classifier.weight.data[rows]
        theirs.save_pretrained(tmp_path / folder)
    body.save_pretrained(tmp_path / "none")
    models = {}
    for folder, seed in (("ab", 0), ("ba", 0), ("two", 0), ("none", 0), ("ab", 1)):
        torch.manual_seed(seed)
        model, new = loaded(tmp_path / folder)
        models[folder, seed] = model.state_dict()
        assert new == ["classifier.bias", "classifier.weight", *(
            ["pre_classifier.bias", "pre_classifier.weight"] if folder == "none" else [])]
    first = models["ab", 0]
    for folder in ("ba", "two"):
        assert torch.equal(models[folder, 0]["classifier.weight"], first["classifier.weight"])
    assert not torch.equal(models["ab", 1]["classifier.weight"], first["classifier.weight"])
    assert torch.equal(models["ab", 1]["pre_classifier.weight"], first["pre_classifier.weight"])
    assert not torch.equal(models["none", 0]["pre_classifier.weight"], first["pre_classifier.weight"])


def test_a_file_of_more_layers_than_its_config_is_named(tmp_path: Path) -> None:
    AutoModel.from_config(tiny_config("bert")).save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"num_hidden_layers": 2', '"num_hidden_layers": 1'))
    with pytest.raises(ValueError, match=r"has tensors of more layers than its config\.json says: .*layer\.1\."):
        loaded(tmp_path)


def test_an_adapter_beside_the_base_model_is_named(tmp_path: Path) -> None:
    AutoModel.from_config(tiny_config("bert")).save_pretrained(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"adapter_config\.json is of an adapter"):
        loaded(tmp_path)


@pytest.mark.parametrize(("fields", "message"), [
    ({"quantization_config": {"quant_method": "gptq"}}, r"has a quantization_config \(gptq\)"),
    ({"model_type": "brt", "auto_map": {"AutoConfig": "code.Config"}},
     r"model_type 'brt', .*did you mean 'bert'\?; the code that it names \(auto_map\) is not run"),
    ({"model_type": "clip"}, r"transformers has no clip model for a classification task"),
    ({"model_type": "llama", "eos_token_id": [1, 2]}, r"has several end tokens \(1, 2\) and no padding token"),
    ({"model_type": "llama", "eos_token_id": 64, "vocab_size": 64}, "padding token 64, outside of its vocabulary"),
    ({"model_type": "llama", "pad_token_id": -1}, "padding token -1, outside of its vocabulary"),
])
def test_a_config_that_cannot_be_loaded_for_what_it_is_is_named(fields: dict[str, Any], message: str,
                                                                tmp_path: Path) -> None:
    AutoModel.from_config(tiny_config("bert")).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    if "model_type" in fields:
        config = {}
    (tmp_path / "config.json").write_text(json.dumps(config | fields))
    with pytest.raises(ValueError, match=message):
        loaded(tmp_path)


def test_an_attention_that_the_architecture_has_not_is_named_with_the_one_that_it_has(tmp_path: Path) -> None:
    AutoModel.from_config(tiny_config("deberta-v2")).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"'sdpa' is not one that deberta-v2 has: set model\.attention=eager"):
        load_base(model_config("local", path=str(tmp_path)), "classification", 3, LABELS)
    loaded(tmp_path)
