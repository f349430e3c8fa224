"""Tasks of a causal language model: a prompt in, a text out (section 5.4: GPT-2 on E2E, WebNLG and DART).

A row is `prompt separator target end`, as the authors' released code writes it (gpt2_encode.py --add_bos --add_eos:
the separator is GPT-2's end-of-text token, the target begins with a space). The loss is on target and end alone: the
labels are -100 elsewhere, and logits at position t are scored with the label at t + 1.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from experiments.tasks.base import Encoded, Task, TaskData, padded
from experiments.tasks.data import TextTable
from experiments.tasks.schemas import Pair

if TYPE_CHECKING:  # torch takes seconds to import: it is imported where it is used
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # the label of a token that has no part in the loss


@dataclass(frozen=True, kw_only=True)
class Generation(Task):
    """A prompt and its references a row; each reference is a row of its own to train on and to score."""

    kinds: ClassVar[tuple[str, ...]] = ("causal_lm",)
    num_labels: ClassVar[int] = 0  # no head
    labels: ClassVar[list[str]] = []
    separator: str | None  # text between prompt and target; null: the tokenizer's beginning- or end-of-text token
    test_splits: list[str]  # evaluated beside, by set: never in what the best epoch is chosen by

    def __post_init__(self) -> None:
        super().__post_init__()
        if both := set(self.test_splits) & set(self.evaluation_splits):
            raise ValueError(f"task.test_splits and task.evaluation_splits share {', '.join(sorted(both))}")

    @abstractmethod
    def split(self, split: str) -> TextTable:
        """All rows of a split."""

    @abstractmethod
    def pairs(self, table: TextTable) -> list[Pair]:
        """Prompt and references of each row."""

    def groups(self, train: TextTable) -> Sequence[Hashable]:
        """Prompts: the references of one are held out together."""
        return [prompt for prompt, _ in self.pairs(train)]

    def load(self) -> TaskData:
        """As every task, and the test splits, unless a part of the training split is evaluated on."""
        data = super().load()
        if self.evaluate_on == "development":
            return data
        return TaskData(data.train, data.evaluation | {split: self.split(split) for split in self.test_splits})

    def encode(self, table: TextTable, tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[Encoded]:
        """A row for each reference, at most `max_length` tokens: the prompt is cut from its left, the target never.

        ValueError names the row whose target does not fit even without a prompt.
        """
        pairs = self.pairs(table)
        separator, end = self.separator_ids(tokenizer), end_id(tokenizer)
        prompts = _ids(tokenizer, [prompt for prompt, _ in pairs])
        targets = iter(_ids(tokenizer, [f" {text}" for _, references in pairs for text in references]))
        rows: list[Encoded] = []
        for row, (_, references) in enumerate(pairs):
            for target in (next(targets) for _ in references):
                room = max_length - len(separator) - len(target) - 1
                if room < 0:
                    raise ValueError(f"{table.source}, row {row}: a target of {len(target)} tokens, with the separator "
                                     f"and the end, is above trainer.max_length {max_length}")
                start = [*prompts[row][max(0, len(prompts[row]) - room):], *separator]
                answer = [*target, end]
                rows.append({"input_ids": start + answer, "labels": [IGNORED] * len(start) + answer})
        if not rows:
            raise ValueError(f"{table.source}: no row has a reference")
        return rows

    def separator_ids(self, tokenizer: PreTrainedTokenizerBase) -> list[int]:
        """Tokens between prompt and target, at least one: what follows it is predicted there."""
        if self.separator is None:
            return [end_id(tokenizer) if tokenizer.bos_token_id is None else int(tokenizer.bos_token_id)]
        (ids,) = _ids(tokenizer, [self.separator])
        if not ids:
            raise ValueError(f"task.separator {self.separator!r} has no token")
        return ids

    def check_separators(self, rows: list[Encoded], tokenizer: PreTrainedTokenizerBase,
                         separators: Mapping[str, int]) -> None:
        """ValueError unless an infix, before the separator that the method finds, stands before this task's.

        The method finds the first one after a row's first token (lora.positions.BeforeSeparator).
        """
        ours = self.separator_ids(tokenizer)
        for field, token in separators.items():
            if ours != [token]:
                hint = f"set method.{field}={ours[0]}" if len(ours) == 1 else "take a separator of one token"
                raise ValueError(f"task.separator {self.separator!r} is token {', '.join(map(str, ours))}, but "
                                 f"method.{field} is {token}, before which the infix stands: {hint}, or l_i=0")
            for number, row in enumerate(rows):
                begins = len(row["labels"]) - self.weight(row)  # where the target does
                if begins < 2 or row["input_ids"].index(token, 1) != begins - 1:
                    why = "an empty prompt" if begins < 2 else f"the separator (token {token}) in its prompt, too"
                    raise ValueError(f"row {number} of those encoded has {why}: the infix would not stand before the "
                                     f"separator of prompt and target; set another task.separator and method.{field}, "
                                     "or l_i=0")

    def collate(self, rows: list[Encoded], pad_token_id: int, pad_to_multiple_of: int = 8) -> dict[str, Tensor]:
        """input_ids, attention_mask, labels (rows, length); padded on the right, where labels are -100."""
        return padded(rows, {"input_ids": pad_token_id, "labels": IGNORED}, pad_to_multiple_of)

    def loss(self, logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
        """Cross entropy summed over target tokens, in fp32; logits (rows, length, vocabulary), labels (rows, length)."""
        from torch.nn import functional

        scored, targets, _ = _scored(logits, labels)
        return functional.cross_entropy(scored, targets, reduction="sum", label_smoothing=label_smoothing)

    def weight(self, row: Encoded) -> int:
        """Target tokens of a row, its end among them."""
        return sum(label != IGNORED for label in row["labels"])

    def predictions(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Negative log-likelihood of each row's target, (rows,), in nats."""
        import torch
        from torch.nn import functional

        scored, targets, where = _scored(logits, labels)
        losses = functional.cross_entropy(scored, targets, reduction="none")  # (target tokens of all rows,)
        return torch.zeros_like(where, dtype=torch.float32).masked_scatter(where, losses).sum(-1)

    def reference(self, row: Encoded) -> int:
        """Target tokens of a row."""
        return self.weight(row)

    def metrics(
        self, predictions: Mapping[str, ArrayLike], references: Mapping[str, ArrayLike]
    ) -> dict[str, float]:
        """Each metric by evaluation set, `loss_seen`, ..., and over the rows of all but the test splits, `loss`."""
        chosen = [name for name in predictions if name not in self.test_splits]

        def pooled(sets: Mapping[str, ArrayLike]) -> dict[str, ArrayLike]:
            return {"all": np.concatenate([np.asarray(sets[name]) for name in chosen])}

        return super().metrics(predictions, references) | super().metrics(pooled(predictions), pooled(references))

    def collapsed(self, predictions: Mapping[str, ArrayLike]) -> bool:
        """True if the likelihood of any row is NaN or zero."""
        return not all(np.isfinite(np.asarray(part, dtype=np.float64)).all() for part in predictions.values())


def end_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token after every target; ValueError where the tokenizer has none."""
    if tokenizer.eos_token_id is None:
        raise ValueError(f"the tokenizer of {tokenizer.name_or_path} has no end-of-text token (eos_token)")
    return int(tokenizer.eos_token_id)


def _ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Tokens of each text, without special ones."""
    # verbose: no warning for a text above the model's length, which is cut or refused later
    return tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"] if texts else []


def _scored(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (tokens, vocabulary) in fp32 that predict a target token, those tokens, and where they are predicted.

    Only these are taken to fp32: the logits of GPT-2 are the largest tensor of a step.
    """
    where = labels[:, 1:] != IGNORED  # (rows, length - 1)
    return logits[:, :-1][where].float(), labels[:, 1:][where], where
