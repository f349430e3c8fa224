"""Load base models and tokenizers, or build a model of the same shape without weights."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from experiments.models.architectures import task_config
from experiments.models.files import check, checked_folder, declared, model_folder
from experiments.models.record import check_record
from lora.errors import check_choice

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

KINDS = ("classification", "regression", "causal_lm")


def load_model(cfg: DictConfig, kind: str, num_labels: int, labels: list[str]) -> PreTrainedModel:
    """The model of `cfg` in fp32 with a head for `kind` (one of KINDS), in eval mode.

    New weights (a head, or everything with init=random) are drawn from torch's global generator. Raises
    FileNotFoundError where the files are not to be had, ValueError where they are not what `cfg` declares.
    """
    check(cfg)
    if cfg.init == "random":
        return _from_config(cfg, kind, num_labels, labels).eval()
    folder = checked_folder(cfg)
    with quiet_transformers():
        model, info = _auto_class(kind).from_pretrained(
            folder,
            config=_config(cfg, kind, num_labels, labels, pretrained=True),
            attn_implementation=cfg.attention,
            use_safetensors=cfg.weights == "safetensors",
            weights_only=True,
            dtype="float32",
            local_files_only=True,
            ignore_mismatched_sizes=True,  # reported like missing ones, and refused below unless in the head
            output_loading_info=True,
        )
    absent = set(info["missing_keys"]) | {key for key, *_ in info["mismatched_keys"]}
    if strange := sorted(key for key in absent if not _may_be_new(key, model, kind, cfg.pooler)):
        some = ", ".join(strange[:3]) + (", ..." if len(strange) > 3 else "")
        raise ValueError(f"{folder} lacks {len(strange)} tensors of the base model, or has other shapes: {some}")
    return model


def load_tokenizer(cfg: DictConfig) -> PreTrainedTokenizerBase:
    """The tokenizer beside the model; without a padding token of its own (GPT-2) it pads with end-of-text."""
    from transformers import AutoTokenizer

    folder = model_folder(cfg)
    check_record(cfg, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def empty_model(cfg: DictConfig, kind: str, num_labels: int) -> PreTrainedModel:
    """The model's modules on the meta device: all shapes, no numbers; no files if `config` is given."""
    import torch

    check(cfg)
    with torch.device("meta"):
        return _from_config(cfg, kind, num_labels, [])


def kind_of(model: DictConfig) -> str:
    """The task kind that the paper used a model for, by its `config`."""
    return "causal_lm" if model.config and model.config.model_type == "gpt2" else "classification"


def _config(cfg: DictConfig, kind: str, num_labels: int, labels: list[str], pretrained: bool) -> PreTrainedConfig:
    """The transformers config: from the folder of `pretrained` weights, else from the declared fields."""
    fields = declared(cfg)
    folder = None if fields and not pretrained else model_folder(cfg)
    return task_config(cfg, fields or {}, folder, kind, num_labels, labels)


def _from_config(cfg: DictConfig, kind: str, num_labels: int, labels: list[str]) -> PreTrainedModel:
    """A model of this architecture, with weights drawn anew (or none, on the meta device)."""
    config = _config(cfg, kind, num_labels, labels, pretrained=False)
    return _auto_class(kind).from_config(config, attn_implementation=cfg.attention)


def _auto_class(kind: str) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    check_choice("task kind", kind, KINDS)
    return AutoModelForCausalLM if kind == "causal_lm" else AutoModelForSequenceClassification


def _may_be_new(key: str, model: PreTrainedModel, kind: str, pooler: str) -> bool:
    """True if a tensor that the file lacks belongs to the task head."""
    if "pooler." in key:  # under `bert.` in BERT, beside `deberta.` in DeBERTa
        return pooler == "train"
    return kind != "causal_lm" and not key.startswith(f"{model.base_model_prefix}.")


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without the load report and its bar: what they would say is checked, and raised, by load_model."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
