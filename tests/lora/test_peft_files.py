"""PEFT's files as people have them: each loads to PEFT's own outputs, or is refused for what it is."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft.utils.other import transpose
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import PreTrainedModel

from analysis.adapters.read import read_updates
from lora.layer import adapted_layers
from lora.peft import load_peft, read_peft
from tests.lora import adapted_models as tiny
from tests.lora.architectures import made

MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "roberta": lambda: tiny.model("roberta"), "bert": lambda: tiny.model("bert"),
    "gpt2-lm": lambda: tiny.model("gpt2-lm"), "albert": lambda: made("albert", False, False),
    "llama-lm": lambda: made("llama", True, False), "llama-lm, tied": lambda: made("llama", True, True)}
QUERY = "roberta.encoder.layer.1.attention.self.query"


def by_peft(kind: str, folder: Path, **options: Any) -> nn.Module:
    """A model of PEFT with every trained tensor away from its start, and its folder on disk."""
    given = {"r": 4, "lora_alpha": 6, "target_modules": ["query", "value"],
             "task_type": "CAUSAL_LM" if "-lm" in kind else "SEQ_CLS"}
    model = peft.get_peft_model(MODELS[kind](), peft.LoraConfig(**given | options)).eval()
    tiny.disturb([p for p in model.parameters() if p.requires_grad])
    model.save_pretrained(folder)
    return model


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    file = folder / "adapter_model.safetensors"
    save_file(change(load_file(file)), file)


def check_loaded(kind: str, folder: Path, theirs: nn.Module) -> None:
    """Outputs of the model and dW of every file's update are PEFT's."""
    load_peft(ours := MODELS[kind](), folder)
    assert not torch.allclose(tiny.logits(ours), tiny.logits(MODELS[kind]()), rtol=1e-2, atol=1e-2)
    assert_close(tiny.logits(ours), tiny.logits(theirs), rtol=0, atol=1e-5)
    if json.loads((folder / "adapter_config.json").read_text())["use_dora"]:
        return
    deltas = {name.removeprefix("base_model.model."): transpose(module.get_delta_weight("default").detach(),
                                                                module.fan_in_fan_out)
              for name, module in theirs.named_modules() if hasattr(module, "lora_A")}
    adapter = read_updates(folder)
    assert not adapter.problems
    assert {update.module for update in adapter.updates} == {name for name, _ in adapted_layers(ours)} == deltas.keys()
    for update in adapter.updates:
        if update.part.parts == 1:
            assert_close(update.scaling * update.B @ update.A, deltas[update.module])


OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "output layer": ("llama-lm", {"target_modules": ["q_proj", "lm_head"]}),
    "tied output layer": ("llama-lm, tied", {"target_modules": ["q_proj", "lm_head"]}),
    "output layer with DoRA": ("llama-lm, tied", {"target_modules": ["lm_head"], "use_dora": True}),
    "output layer beside Conv1D": ("gpt2-lm", {"target_modules": ["c_attn", "lm_head"], "bias": "lora_only"}),
    "all linear": ("llama-lm", {"target_modules": "all-linear"}),
    "one layer for all": ("albert", {}),
    "pooler": ("bert", {"target_modules": ["query", "dense"]}),
    "pattern from the start": ("roberta", {"rank_pattern": {f"^{QUERY}": 2}, "alpha_pattern": {f"^{QUERY}": 5}}),
    "two patterns, one value": ("roberta", {"alpha_pattern": {"query": 5, QUERY: 5}}),
    "two ranks for a module": ("roberta", {"rank_pattern": {"query": 2, QUERY: 3}}),
    "a layer": ("roberta", {"layers_to_transform": [1], "layers_pattern": "layer"}),
    "excluded": ("roberta", {"exclude_modules": [QUERY]}),
    "DoRA, rank-stabilised": ("roberta", {"use_dora": True, "use_rslora": True}),
    "norms": ("roberta", {"modules_to_save": ["classifier", "LayerNorm"]}),
    "not Conv1D, it is said": ("gpt2-lm", {"target_modules": ["c_attn", "mlp.c_proj"], "fan_in_fan_out": False}),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("kind", "options"), OPTIONS.values(), ids=OPTIONS)
def test_options_load_to_pefts_outputs(kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    check_loaded(kind, tmp_path, by_peft(kind, tmp_path, **options))


def named(key: str) -> str:
    if ".lora_magnitude_vector" in key:
        return f"{key}.default.weight"
    return key.replace(".weight", ".default.weight") if ".lora_" in key else key


KEYS: dict[str, Callable[[str], str]] = {
    "adapter's name": named,
    "compiled": lambda key: f"_orig_mod.{key}",
    "compiled inside": lambda key: key.replace("base_model.model.", "base_model.model._orig_mod."),
    "distributed": lambda key: f"module.{key}",
    "distributed and compiled": lambda key: named(f"module._orig_mod.{key}"),
    "without prefix": lambda key: key.removeprefix("base_model.model."),
    "prefix twice": lambda key: f"base_model.model.{key}",
    "sharded": lambda key: key.replace("layer.0.", "layer.0._fsdp_wrapped_module._checkpoint_wrapped_module."),
}


@pytest.mark.parametrize("rename", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("options", [{}, {"use_dora": True, "bias": "all"}], ids=["plain", "DoRA and biases"])
def test_other_forms_of_the_keys_load(rename: Callable[[str], str], options: dict[str, Any], tmp_path: Path) -> None:
    theirs = by_peft("roberta", tmp_path, **options)
    rewrite(tmp_path, lambda tensors: {rename(key): tensor for key, tensor in tensors.items()})
    check_loaded("roberta", tmp_path, theirs)


@pytest.mark.parametrize(("kind", "options"), [("roberta", {}), ("bert", {"bias": "all"}),
                                               ("llama-lm", {"target_modules": ["q_proj"]})])
@pytest.mark.parametrize("whole", [True, False])
def test_a_state_dict_that_peft_did_not_write_loads(kind: str, options: dict[str, Any], whole: bool,
                                                    tmp_path: Path) -> None:
    theirs = by_peft(kind, tmp_path, **options)
    words = "" if whole or options.get("bias") else ("lora_", "modules_to_save", "original_module")
    rewrite(tmp_path, lambda _: {key: value.clone() for key, value in theirs.state_dict().items()
                                 if any(word in key for word in words or ("",))})
    check_loaded(kind, tmp_path, theirs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_loads_as_peft_reads_it(dtype: torch.dtype, tmp_path: Path) -> None:
    by_peft("roberta", tmp_path)
    rewrite(tmp_path, lambda tensors: {key: tensor.to(dtype) for key, tensor in tensors.items()})
    check_loaded("roberta", tmp_path, peft.PeftModel.from_pretrained(tiny.model("roberta"), tmp_path).eval())


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "embedding": ("roberta", {"target_modules": ["query", "word_embeddings"]},
                  "updates word embeddings, roberta.embeddings.word_embeddings.lora_embedding_A"),
    "embedding alone": ("llama-lm", {"target_modules": ["embed_tokens"]}, "updates word embeddings, model.embed"),
    "words trained whole": ("roberta", {"modules_to_save": ["classifier", "word_embeddings"]},
                            "1 base weights that are not this model's, .*, roberta.embeddings.word_embeddings.weight"),
    "output layer trained whole": ("llama-lm", {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
                                   "1 base weights that are not this model's, .*, lm_head.weight: modules that"),
    "two alphas for a module": ("roberta", {"alpha_pattern": {"query": 2, QUERY: 3}},
                                f"alpha_pattern gives {QUERY} several values, 2, 3"),
    "parameters": ("llama-lm", {"target_modules": ["q_proj"], "target_parameters": ["o_proj.weight"]},
                   r"with target_parameters=\['o_proj.weight'\], which is not supported"),
    "tokens": ("roberta", {"trainable_token_indices": [1]}, r"with trainable_token_indices=\[1\], which is not"),
    "bias of B": ("roberta", {"lora_bias": True}, "with lora_bias=True, which is not supported"),
    "other start": ("roberta", {"init_lora_weights": "olora"}, "init_lora_weights='olora', which may change the base"),
    "repeated layers": ("llama-lm", {"target_modules": ["q_proj"], "layer_replication": [(0, 2), (1, 2)]},
                        "with layer_replication=.*, which is not supported"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("kind", "options", "message"), REFUSED.values(), ids=REFUSED)
def test_the_rest_is_refused_for_what_it_is(kind: str, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    by_peft(kind, tmp_path, **options)
    before = tiny.logits(model := MODELS[kind]())
    with pytest.raises(ValueError, match=message):
        load_peft(model, tmp_path)
    assert torch.equal(tiny.logits(model), before)


def two_names(key: str) -> str:
    return key.replace(".weight", ".a.weight" if "query" in key else ".b.weight") if ".lora_" in key else key


@pytest.mark.parametrize(("rename", "message"), [
    (two_names, "holds 2 adapters, a, b: save each alone"),
    (lambda key: key.replace("lora_A", "lora_E"), "query.lora_E.weight, which is none of LoRA's tensors"),
])
def test_other_tensors_are_refused_by_both_readers(rename: Callable[[str], str], message: str, tmp_path: Path) -> None:
    by_peft("roberta", tmp_path)
    rewrite(tmp_path, lambda tensors: {rename(key): tensor for key, tensor in tensors.items()})
    for read in (read_updates, lambda folder: load_peft(tiny.model("roberta"), folder)):
        with pytest.raises(ValueError, match=message):
            read(tmp_path)


def test_a_key_twice_is_refused(tmp_path: Path) -> None:
    by_peft("roberta", tmp_path)
    rewrite(tmp_path, lambda tensors: tensors | {f"module.{key}": tensor + 1 for key, tensor in tensors.items()})
    with pytest.raises(ValueError, match=r"holds base_model\S* under two names, one of them \S*"):
        load_peft(tiny.model("roberta"), tmp_path)


def test_an_unknown_variant_is_refused_by_both_readers(tmp_path: Path) -> None:
    by_peft("roberta", tmp_path)
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"use_qalora": True}))
    for read in (read_updates, lambda folder: load_peft(tiny.model("roberta"), folder)):
        with pytest.raises(ValueError, match="with use_qalora=True, which is not supported"):
            read(tmp_path)


def test_a_folder_of_named_adapters_says_where_they_are(tmp_path: Path) -> None:
    by_peft("roberta", tmp_path / "mine")
    with pytest.raises(FileNotFoundError, match=r"it has no adapter_config.json, but its folders mine have"):
        load_peft(tiny.model("roberta"), tmp_path)


@pytest.mark.parametrize(("kind", "targets"), [("bert", ["query", "dense"]), ("llama-lm", ["q_proj", "v_proj"])])
def test_a_pickle_of_an_older_peft_gives_its_outputs(kind: str, targets: list[str], tmp_path: Path):
    theirs = by_peft(kind, tmp_path / "new", use_rslora=True, target_modules=targets)
    theirs.save_pretrained(tmp_path / "old", safe_serialization=False)
    assert not list((tmp_path / "old").glob("*.safetensors"))
    check_loaded(kind, tmp_path / "old", theirs)


@pytest.mark.parametrize(("content", "message"), [
    ({"a": Path("x")}, "not a checkpoint of tensors: Weights only load failed"),
    ({"a": 1}, "adapter_model.bin holds 'a', which is no tensor"), ([1], "holds a list, not tensors by name")])
def test_a_pickle_of_more_than_tensors_is_refused(content: object, message: str, tmp_path: Path):
    by_peft("bert", tmp_path)
    (tmp_path / "adapter_model.safetensors").unlink()
    torch.save(content, tmp_path / "adapter_model.bin")
    with pytest.raises(ValueError, match=message):
        load_peft(tiny.model("bert"), tmp_path)


def configure(folder: Path, **config: object) -> None:
    """Change keys of a folder's configuration."""
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))


@pytest.mark.parametrize(("change", "config", "message"), [
    (lambda saved: {key: tensor.to(torch.int8) if "lora_A" in key else tensor for key, tensor in saved.items()}, {},
     r"query\.q\.A is of torch\.int8, whose numbers are not the values alone"),
    (lambda saved: {key: tensor.to(torch.float8_e4m3fn) if "lora_B" in key else tensor
                    for key, tensor in saved.items()}, {}, r"query\.q\.B is of torch\.float8_e4m3fn"),
    (lambda saved: {key: tensor / 0 if "lora_A" in key else tensor for key, tensor in saved.items()}, {},
     r"query\.q\.A holds NaN or infinite values"),
    (lambda saved: {key: tensor for key, tensor in saved.items() if "layer.1." not in key}, {},
     r"lacks the updates of 2 modules that its target_modules name, bert\.encoder\.layer\.1\.attention\.self\.query"),
    (dict, {"use_rslora": "false"}, "use_rslora is 'false', not true or false"),
    (dict, {"lora_alpha": -6}, "lora_alpha is -6, not a number above 0"),
    (dict, {"lora_alpha": float("nan")}, "lora_alpha is nan, not a number above 0")])
def test_numbers_and_options_that_stand_for_others_are_refused(change: Any, config: dict, message: str, tmp_path: Path):
    by_peft("bert", tmp_path)
    rewrite(tmp_path, change)
    configure(tmp_path, **config)
    with pytest.raises(ValueError, match=message):
        load_peft(tiny.model("bert"), tmp_path)


def test_magnitudes_of_an_adapter_that_is_not_called_dora_are_refused_with_and_without_a_model(tmp_path: Path):
    by_peft("bert", tmp_path, use_dora=True)
    configure(tmp_path, use_dora=False)
    for read in (partial(load_peft, tiny.model("bert")), read_peft):
        with pytest.raises(ValueError, match=r"has magnitudes of DoRA, bert.*, and adapter_config.json not use_dora"):
            read(tmp_path)


@pytest.mark.parametrize("options", [{"target_modules": r".*layer\.1\..*query"}, {"layers_to_transform": [1]},
                                     {"target_modules": ["layer.1.attention.self.query"]},
                                     {"exclude_modules": r".*layer\.0.*"}])
def test_layers_that_were_left_out_when_it_was_trained_are_not_missed(options: dict, tmp_path: Path):
    theirs = by_peft("bert", tmp_path, **options)
    check_loaded("bert", tmp_path, theirs)


def test_a_configuration_that_is_a_list_is_named(tmp_path: Path):
    by_peft("bert", tmp_path)
    (tmp_path / "adapter_config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"adapter_config.json holds a list, not keys and values"):
        load_peft(tiny.model("bert"), tmp_path)
