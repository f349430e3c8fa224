"""Rows as a model takes them: token types only where it has such, and padding that changes no row's outputs.

What a row gets is then its own: it depends neither on the size of its batch nor on the rows beside it.
"""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from experiments.tasks.base import Task

# config.model_type of the models that compare the types of two tokens, without an embedding of each
COMPARED_TYPES = ("funnel", "xlnet")
TOLERANCE = 1e-3  # of the largest output in fp32: rounding is near 1e-6, and a token that is seen moves it by more
PROBED = 16  # tokens of padding that a row is tried with
Rows = list[dict[str, Any]]
log = logging.getLogger(__name__)


def fit_rows(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Rows) -> None:
    """Leave `rows` without token types where `model` has none, and tell it which token rows are padded with."""
    if not has_token_types(model):
        for row in rows:
            row.pop("token_type_ids", None)
    set_padding(model, tokenizer)


def has_token_types(model: PreTrainedModel) -> bool:
    """True if a model tells tokens by type. Others ignore the types, refuse them, or read them as words (GPT-2)."""
    sizes = [module.num_embeddings for name, module in model.named_modules()
             if name.endswith("token_type_embeddings") and isinstance(module, nn.Embedding)]
    return max(sizes, default=1) > 1 or model.config.model_type in COMPARED_TYPES


def set_padding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Set the padding token of the model to the tokenizer's: a decoder classifies the last token that is another.

    ValueError for a model that numbers positions from its own padding token.
    """
    padding = tokenizer.pad_token_id
    for name, module in model.named_modules():
        own = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and own not in (None, padding):
            raise ValueError(f"the tokenizer pads with token {padding} ({tokenizer.pad_token}), and the model counts "
                             f"positions from its padding token {own}: they are not of one model, or pad_token_id of "
                             "config.json is wrong")
    for config in (model.config, model.config.get_text_config()):
        config.pad_token_id = padding


def padding_multiple(model: nn.Module, task: Task, rows: Rows, pad_token_id: int, max_length: int) -> int:
    """The number that lengths of batches are multiples of: 8, or less where `max_length` is no multiple of 8.

    It is `max_length` itself, so that every row has one padding, where padding changes a row's outputs. ValueError
    where the model reads its answer from the last position, which then is padding.
    """
    probes = {len(row["input_ids"]) % 2: row for row in sorted(rows, key=lambda row: -len(row["input_ids"]))}
    if not any(sees_padding(model, task, row, pad_token_id, max_length) for row in probes.values()):
        return math.gcd(8, max_length)
    config: Any = model.config
    if getattr(config, "summary_type", None) == "last":
        raise ValueError(f"a {config.model_type} model classifies a row by its last position, which is padding in all "
                         "but the longest rows: take a model of another architecture")
    log.warning("padding changes the outputs of a row in a %s model: all rows are padded to trainer.max_length %d, so "
                "that none depends on its batch", config.model_type, max_length)
    return max_length


@torch.no_grad()
def sees_padding(model: nn.Module, task: Task, row: dict[str, Any], pad_token_id: int, max_length: int) -> bool:
    """True if a row has other outputs with padding, of up to PROBED tokens and `max_length` in all, than without."""
    length = len(row["input_ids"])
    if length >= max_length:
        return False
    model.eval()
    alone, padded = (_outputs(model, task, row, pad_token_id, size)
                     for size in (length, min(length + PROBED, max_length)))
    change = (alone - padded).abs().max().item()
    return bool(alone.isfinite().all()) and not change <= TOLERANCE * alone.abs().max().item()


def _outputs(model: nn.Module, task: Task, row: dict[str, Any], pad_token_id: int, size: int) -> Tensor:
    """The logits of a row that is padded to `size` tokens, without those of the padding."""
    inputs = task.collate([row], pad_token_id, pad_to_multiple_of=size)
    del inputs["labels"]
    logits = model(**inputs).logits
    return logits[:, :len(row["input_ids"])] if logits.dim() == 3 else logits
