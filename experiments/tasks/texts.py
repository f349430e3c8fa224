"""Texts as tokens: one a row, or two with an end of the first that the model can see."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # transformers takes seconds to import: it is imported where it is used
    from transformers import BatchEncoding, PreTrainedTokenizerBase

ENDED = re.compile(r"[^.?!]*[.?!]\s*")  # a text of one sentence: the first mark of a row of two is where it ends


def encode_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[list[str]], separator: str | None,
                 max_length: int, source: str) -> dict[str, list[Any]]:
    """input_ids, and token_type_ids where the model has them, of rows of one text or two, by name; not padded.

    A row has at most `max_length` tokens, the longer text of a pair cut first. ValueError names a row without a token,
    and one of two texts where nothing would stand between them.
    """
    between = [] if separator is None else _separator_ids(tokenizer, separator)
    if len(texts) == 2 and not between:
        _check_ends(tokenizer, texts[0], source)
    encoded = tokenizer(*texts, truncation=True, max_length=max_length - len(between), return_attention_mask=False)
    columns = {name: list(values) for name, values in encoded.items()}
    for row, ids in enumerate(columns["input_ids"]):
        if not ids:
            given = " and ".join(repr(values[row]) for values in texts)
            raise ValueError(f"{source}, row {row}: {given} has no token: leave the row out")
        if between:
            _separate(columns, row, _start_of_second(encoded, row), between)
    return columns


def _separator_ids(tokenizer: PreTrainedTokenizerBase, separator: str) -> list[int]:
    """Tokens of the separator; ValueError where it has none, or is unknown."""
    ids = tokenizer(separator, add_special_tokens=False, return_attention_mask=False)["input_ids"]
    if not ids or tokenizer.unk_token_id in ids:
        raise ValueError(f"task.separator {separator!r} has {'an unknown' if ids else 'no'} token: take another"
                         f"{_hint(tokenizer)}")
    return ids


def _check_ends(tokenizer: PreTrainedTokenizerBase, first: list[str], source: str) -> None:
    """ValueError where the tokenizer puts nothing between two texts, and the first one's end is not seen without."""
    if tokenizer.num_special_tokens_to_add(pair=True) > tokenizer.num_special_tokens_to_add(pair=False):
        return
    for row, text in enumerate(first):
        if not ENDED.fullmatch(text):
            raise ValueError(f"{source}, row {row}: the tokenizer puts nothing between two texts, and where the first "
                             f"one ends, {text[-40:]!r}, cannot be seen: set task.separator{_hint(tokenizer)}")


def _hint(tokenizer: PreTrainedTokenizerBase) -> str:
    """A token that could separate, as it is written on a command line; '' where the tokenizer has none."""
    token = tokenizer.sep_token or tokenizer.eos_token or tokenizer.bos_token
    return f""", such as 'task.separator="{token}"'""" if token else ""


def _start_of_second(encoded: BatchEncoding, row: int) -> int:
    """Index of the second text's first token; the end of the row where it has none."""
    parts = encoded.sequence_ids(row)
    return parts.index(1) if 1 in parts else len(parts)


def _separate(columns: dict[str, list[Any]], row: int, place: int, between: list[int]) -> None:
    """Put the tokens `between` before token `place` of a row, of the type of the token before them."""
    for name, values in columns.items():
        before, after = values[row][:place], values[row][place:]
        values[row] = [*before, *(between if name == "input_ids" else (before or [0])[-1:] * len(between)), *after]
