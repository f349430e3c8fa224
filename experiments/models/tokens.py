"""The tokenizer of a model folder, and the check that its tokens are the model's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # transformers takes seconds to import: it is imported where it is used
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MOST_UNKNOWN = 0.9  # share of unknown tokens from which a tokenizer is not that of the texts: rows are all but alike
NEEDED = ("vocab_file", "merges_file")  # of a tokenizer's files, where there is no tokenizer.json


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder; one without a padding token of its own (GPT-2's) pads with its end token.

    ValueError where a file of it is not there (transformers would make one without words), where it cannot be read,
    and where it has neither of the two tokens.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder} has no tokenizer that can be read (tokenizer.json, or the files of its "
                         f"architecture's tokenizer): {str(error).splitlines()[0]}") from error
    names = type(tokenizer).vocab_files_names
    needed = [names[key] for key in NEEDED if key in names] or list(names.values())
    absent = [name for name in needed if not (folder / name).is_file()]
    if absent and not (tokenizer.is_fast and (folder / "tokenizer.json").is_file()):
        raise ValueError(f"{folder} has no tokenizer: a {type(tokenizer).__name__} is made of tokenizer.json or of "
                         f"{' and '.join(needed)}; it lacks {' and '.join(absent)}")
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise ValueError(f"the tokenizer in {folder} has neither a padding token nor an end token: give it a "
                             "pad_token")
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def check_tokens(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, rows: Iterable[Mapping[str, Any]]) -> None:
    """ValueError for a token of the rows, or for padding, without an embedding, and where nearly none is known."""
    counts = Counter(token for row in rows for token in row["input_ids"])
    highest, size = max([*counts, tokenizer.pad_token_id]), _embeddings(model)
    if size is not None and highest >= size:
        word = tokenizer.convert_ids_to_tokens(highest)
        raise ValueError(f"token {highest} of the tokenizer ({word!r}) is above the model's {size} embeddings: it is "
                         "the tokenizer of another model, or was given tokens since")
    name, special, unknown = tokenizer.name_or_path, set(tokenizer.all_special_ids), tokenizer.unk_token_id
    if unknown in (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id):  # as GPT-2 writes it
        unknown = None
    words = sum(number for token, number in counts.items() if token == unknown or token not in special)
    if not words:
        raise ValueError(f"the tokenizer of {name} finds no word in the rows: all tokens are special ones")
    if unknown is not None and counts[unknown] >= MOST_UNKNOWN * words:
        raise ValueError(f"the tokenizer of {name} does not know {counts[unknown]} of the rows' {words} tokens "
                         f"({tokenizer.unk_token}): it is one of other texts, or is not whole")


def _embeddings(model: PreTrainedModel) -> int | None:
    """Number of tokens that a model has an embedding for; None where they have no table, as in CANINE."""
    try:
        return len(model.get_input_embeddings().weight)  # type: ignore[arg-type]
    except (NotImplementedError, AttributeError):
        return None
