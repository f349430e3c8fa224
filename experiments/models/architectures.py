"""The attention implementations of an architecture, and its transformers config for a task.

`cfg` is one file of conf/model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from experiments.config.search_path import config_files
from experiments.models.dropout import set_dropout

if TYPE_CHECKING:  # transformers takes seconds to import: it is imported where it is used
    from transformers import PreTrainedConfig

ATTENTION = ("sdpa", "eager")


def attentions_of(model_type: str) -> tuple[str, ...]:
    """The attention implementations that an architecture has: DeBERTa's has no fused one."""
    return ("eager",) if model_type == "deberta-v2" else ATTENTION


def task_config(cfg: DictConfig, fields: Mapping[str, Any], folder: Path | None, kind: str, num_labels: int,
                labels: list[str]) -> PreTrainedConfig:
    """The config of the folder, which must have the declared `fields`, or of these where there is no folder.

    Raises ValueError for a field that the folder has otherwise, and for an encoder on a causal task.
    """
    from transformers import AutoConfig

    if folder is None:
        config = AutoConfig.for_model(**fields)
    else:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
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
        if config.pad_token_id is None:  # GPT-2 classifies the last token before the padding
            config.pad_token_id = config.eos_token_id
    set_dropout(config, cfg)
    return config


def _check_decoder(cfg: DictConfig, config: PreTrainedConfig) -> None:
    """ValueError for an encoder: it reads what comes after a place, so that a causal loss would show it its target."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as ENCODERS

    if config.model_type in ENCODERS and not getattr(config, "is_decoder", False):
        decoders = ", ".join(name for name in sorted(config_files("model")) if name.startswith("gpt2"))
        raise ValueError(f"model {cfg.name!r} is an encoder ({config.model_type}), which sees what a causal_lm task "
                         f"has it predict; decoders: {decoders}")
