"""Merging where modules share weights: an output layer tied to the word embeddings, one block used for all layers."""

from typing import Any

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from lora import Combined, FullFineTuning, adapted_layers, load_adapter, merge, save_adapter, unmerge
from tests.lora.architectures import CLASSIFIERS, LANGUAGE_MODELS, made
from tests.lora.tiny import lora, tokens

WALK = [(kind, False, False) for kind in CLASSIFIERS] + [(kind, True, tied) for kind in LANGUAGE_MODELS
                                                         for tied in (True, False)]


def outputs(model: PreTrainedModel) -> torch.Tensor:
    batch = tokens()
    batch["input_ids"][:, -1] = 2  # BART and T5 classify at the end of the sentence
    return model(**batch).logits


@pytest.mark.parametrize(("kind", "language_model", "tied"), WALK)
def test_merged_equals_unmerged_with_every_dense_map_adapted(kind: str, language_model: bool, tied: bool) -> None:
    model = made(kind, language_model, tied)
    output, words = model.get_output_embeddings(), model.get_input_embeddings().weight
    assert (output is not None and output.weight is words) == tied
    lora(targets=["*"]).apply(model, pooler="train")
    plain = outputs(model).detach()
    for _, layer in adapted_layers(model):
        nn.init.normal_(layer.of("default")["weight"].B, std=0.2)
    unmerged = outputs(model)
    unmerged.square().mean().backward()
    assert all(layer.of("default")["weight"].B.grad.any() for _, layer in adapted_layers(model))
    state = {key: value.clone() for key, value in model.state_dict().items()}
    merge(model)
    with torch.no_grad():
        torch.testing.assert_close(outputs(model), unmerged, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(plain, unmerged, rtol=1e-2, atol=1e-2)
        assert model.get_input_embeddings().weight is words
        assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
        unmerge(model)
        assert torch.equal(outputs(model), unmerged)


@torch.no_grad()
def test_a_module_that_stands_in_two_places_is_adapted_and_merged_in_both() -> None:
    model = made("llama", False, False)
    shared = model.model.layers[0].mlp.up_proj
    model.model.layers[1].mlp.up_proj = shared
    lora(targets=["*.up_proj"]).apply(model, pooler="train")
    nn.init.normal_(model.model.layers[0].mlp.up_proj.of("default")["weight"].B)
    unmerged = outputs(model)
    dW = model.model.layers[0].mlp.up_proj.delta("default")
    merge(model)
    torch.testing.assert_close(outputs(model), unmerged, rtol=1e-4, atol=1e-4)
    unmerge(model)
    plain = made("llama", False, False)
    for layer in plain.model.layers:
        layer.mlp.up_proj.weight.copy_(shared.weight + dW)
    torch.testing.assert_close(outputs(plain), unmerged, rtol=1e-4, atol=1e-4)


def test_an_adapter_of_a_tied_output_layer_comes_back_from_a_file_that_was_written_merged(tmp_path: Any) -> None:
    model = made("gpt2", True, True)
    lora(targets=["lm_head"]).apply(model, pooler="train")
    nn.init.normal_(model.lm_head.of("default")["weight"].B)
    wanted = outputs(model)
    merge(model)
    save_adapter(model, tmp_path, base={})
    load_adapter(again := made("gpt2", True, True), tmp_path)  # its fingerprint is that of the base
    torch.testing.assert_close(outputs(again), wanted)


def test_merged_weights_move_with_the_model() -> None:
    model = made("gpt2", True, True)
    lora(targets=["q", "*lm_head"]).apply(model, pooler="train")
    for _, layer in adapted_layers(model):
        for update in layer.of("default").values():
            nn.init.normal_(update.B)
    merge(model)
    wanted = outputs(model)
    torch.testing.assert_close(outputs(model.double()), wanted.double(), rtol=1e-5, atol=1e-5)


def test_training_the_word_embeddings_beside_an_update_of_the_tied_output_layer_is_refused() -> None:
    both = Combined(name="both", parts={"lora": lora(targets=["lm_head"]), "ft": FullFineTuning(name="ft")})
    with pytest.raises(ValueError, match=r"ft trains transformer.wte.weight \(of 1\) itself, and the update of lora"):
        both.apply(made("gpt2", True, True), pooler="train")
