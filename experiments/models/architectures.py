"""The attention implementations of an architecture, and its transformers config for a task.

`cfg` is one file of conf/model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from experiments.config.search_path import config_files
from experiments.models.dropout import set_dropout
from lora.errors import check_choice, nearest

if TYPE_CHECKING:  # transformers takes seconds to import: it is imported where it is used
    from transformers import PreTrainedConfig

KINDS = ("classification", "regression", "causal_lm")
ATTENTION = ("sdpa", "eager")


def attentions_of(model_type: str) -> tuple[str, ...]:
    """The attention implementations that an architecture has: DeBERTa's has no fused one."""
    return ("eager",) if model_type == "deberta-v2" else ATTENTION


def task_config(cfg: DictConfig, fields: Mapping[str, Any], folder: Path | None, kind: str, num_labels: int,
                labels: list[str]) -> PreTrainedConfig:
    """The config of the folder, which must have the declared `fields`, or of these where there is no folder.

    Raises ValueError for a field that the folder has otherwise, for an encoder on a causal task, and where the padding
    token is not one.
    """
    from transformers import AutoConfig

    if folder is None:
        config = AutoConfig.for_model(**fields)
    else:
        _check_file(folder / "config.json")
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        for key, value in fields.items():
            if (actual := getattr(config, key, None)) != value:
                raise ValueError(f"{cfg.path}: config.json has {key} {actual!r}, model.config.{key} is {value!r}")
    if kind == "causal_lm":
        _check_decoder(cfg, config)
    else:
        config.num_labels = num_labels
        if labels:
            config.id2label = dict(enumerate(labels))
            config.label2id = {label: number for number, label in enumerate(labels)}
        _set_padding(cfg, config)
    set_dropout(config, cfg)
    return config


def auto_class(cfg: DictConfig, kind: str, config: PreTrainedConfig) -> Any:
    """The class of transformers that makes models of a task's `kind` (one of KINDS).

    ValueError where it has none for the config, or one without the attention of `cfg`.
    """
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    check_choice("task kind", kind, KINDS)
    auto: Any = AutoModelForCausalLM if kind == "causal_lm" else AutoModelForSequenceClassification
    if type(config) not in auto._model_mapping:
        raise ValueError(f"model {cfg.name!r}: transformers has no {config.model_type} model for a {kind} task")
    if cfg.attention == "sdpa" and not auto._model_mapping[type(config)]._supports_sdpa:
        raise ValueError(f"model.attention 'sdpa' is not one that {config.model_type} has: set model.attention=eager")
    return auto


def _check_file(path: Path) -> None:
    """Raise unless a config.json is there, of an architecture of transformers, and of weights that are numbers."""
    from transformers import CONFIG_MAPPING

    if not path.is_file():
        raise FileNotFoundError(f"no {path.name} in {path.parent}")
    fields = json.loads(path.read_text())
    if (kind := fields.get("model_type")) not in CONFIG_MAPPING:
        code = "; the code that it names (auto_map) is not run" if "auto_map" in fields else ""
        raise ValueError(f"{path} has model_type {kind!r}, which is not one of transformers' architectures"
                         f"{nearest(str(kind), CONFIG_MAPPING.keys())}{code}")
    _check_architectures(path, kind, fields.get("architectures") or ())
    if method := fields.get("quantization_config"):
        raise ValueError(f"{path} has a quantization_config ({method.get('quant_method')}): give the folder of the "
                         "weights as they were before, which trainer.frozen=4bit quantises")


def _check_architectures(path: Path, kind: str, architectures: Sequence[str]) -> None:
    """ValueError where a config.json names the class of another model_type as the one that its weights were of."""
    import transformers

    for name in architectures:
        of = getattr(getattr(getattr(transformers, name, None), "config_class", None), "model_type", kind)
        if of != kind:
            raise ValueError(f"{path} has model_type {kind!r}, and its architectures {name}, which is of {of!r}: its "
                             "weights would be read as those of another model")


def _set_padding(cfg: DictConfig, config: PreTrainedConfig) -> None:
    """Give a classifier without a padding token its end token: GPT-2 classifies the last token before the padding."""
    text = config.get_text_config()
    if text.pad_token_id is None:
        if isinstance(text.eos_token_id, list | tuple):
            raise ValueError(f"model {cfg.name!r} has several end tokens ({', '.join(map(str, text.eos_token_id))}) "
                             "and no padding token: set pad_token_id in its config.json")
        config.pad_token_id = text.pad_token_id = text.eos_token_id
    size = getattr(text, "vocab_size", None)  # CANINE has none
    if text.pad_token_id is not None and size is not None and not 0 <= text.pad_token_id < size:
        raise ValueError(f"model {cfg.name!r} has padding token {text.pad_token_id}, outside of its vocabulary of "
                         f"{size}: set pad_token_id in its config.json")


def _check_decoder(cfg: DictConfig, config: PreTrainedConfig) -> None:
    """ValueError for an encoder: it reads what comes after a place, so that a causal loss would show it its target."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as ENCODERS

    if config.model_type in ENCODERS and not getattr(config, "is_decoder", False):
        decoders = ", ".join(name for name in sorted(config_files("model")) if name.startswith("gpt2"))
        raise ValueError(f"model {cfg.name!r} is an encoder ({config.model_type}), which sees what a causal_lm task "
                         f"has it predict; decoders: {decoders}")
