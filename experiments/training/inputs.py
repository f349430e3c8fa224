"""Rows as a model takes them: token types only where it has such, and padding that no output of a row sees.

What a row gets is then its own: it depends neither on the size of its batch nor on the rows beside it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from experiments.tasks.base import Task

# config.model_type of the models that compare the types of two tokens, without an embedding of each
COMPARED_TYPES = ("funnel", "xlnet")
TOLERANCE = 1e-3  # of the largest output in fp32: rounding is near 1e-6, and a token that is seen moves it by more
Rows = list[dict[str, Any]]


def fit_rows(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Task, rows: Rows) -> None:
    """Leave `rows` and `model` with the same padding token and token types; ValueError where padding is seen."""
    if not has_token_types(model):
        for row in rows:
            row.pop("token_type_ids", None)
    set_padding(model, tokenizer)
    check_padding(model, task, rows, int(tokenizer.pad_token_id))  # type: ignore[call-overload]


def has_token_types(model: PreTrainedModel) -> bool:
    """True if a model tells tokens by type. Others ignore the types, refuse them, or read them as words (GPT-2)."""
    sizes = [module.num_embeddings for name, module in model.named_modules()
             if name.endswith("token_type_embeddings") and isinstance(module, nn.Embedding)]
    return max(sizes, default=1) > 1 or model.config.model_type in COMPARED_TYPES


def set_padding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Tell the model which token the rows are padded with: a decoder classifies the last token that is another.

    ValueError for a model that numbers positions from its own padding token, which cannot be told.
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


@torch.no_grad()
def check_padding(model: PreTrainedModel, task: Task, rows: Rows, pad_token_id: int) -> None:
    """ValueError where the outputs of the shortest row are others once it is padded to the length of the longest."""
    by_length = sorted(rows, key=lambda row: len(row["input_ids"]))
    length, longest = len(by_length[0]["input_ids"]), len(by_length[-1]["input_ids"])
    alone, padded = (_outputs(model, task, by_length[0], pad_token_id, size) for size in (length, longest))
    change = (alone - padded).abs().max().item()
    if alone.isfinite().all() and not change <= TOLERANCE * alone.abs().max().item():
        raise ValueError(f"padding changes a row's outputs in a {model.config.model_type} model (by {change:.2g}): "
                         "its scores would depend on trainer.evaluation_batch_size; take another architecture")


def _outputs(model: PreTrainedModel, task: Task, row: dict[str, Any], pad_token_id: int, size: int) -> Tensor:
    """The logits of a row that is padded to `size` tokens, without those of the padding."""
    inputs = task.collate([row], pad_token_id, pad_to_multiple_of=size)
    del inputs["labels"]
    logits = model(**inputs).logits
    return logits[:, :len(row["input_ids"])] if logits.dim() == 3 else logits
