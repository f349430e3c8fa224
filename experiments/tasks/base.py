"""The interface between a task and the trainer, and the tasks whose input is one or two texts and whose output
is a class or a number."""

from __future__ import annotations

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from experiments.metrics import as_printed, check_metric
from experiments.tasks.data import Source, TextTable
from experiments.tasks.labels import finite_number, is_missing, label_name
from experiments.tasks.texts import encode_texts
from lora.errors import check_choice

if TYPE_CHECKING:  # torch takes seconds to import: it is imported where it is used
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)
Encoded = dict[str, Any]  # one row: input_ids, token_type_ids where the model has them, labels


@dataclass(frozen=True)
class TaskData:
    """Rows to train on, and rows to evaluate on by the name of their set."""

    train: TextTable
    evaluation: dict[str, TextTable]


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """Built from a file of conf/task, which has every default."""

    kinds: ClassVar[tuple[str, ...]]  # that a class of tasks may have: of experiments.models.architectures.KINDS
    name: str
    kind: str  # classification, regression or causal_lm
    main_metric: str  # what `score` is, and what the best epoch is chosen by
    side_metrics: list[str]  # reported beside it
    evaluation_splits: list[str]
    evaluate_on: str  # validation: the evaluation splits; development: a fixed tenth of the training split

    def __post_init__(self) -> None:
        check_choice("task kind", self.kind, self.kinds)
        for metric in (self.main_metric, *self.side_metrics):
            check_metric(metric, self.kind)
        check_choice("task.evaluate_on", self.evaluate_on, ("validation", "development"))

    @abstractmethod
    def split(self, split: str) -> TextTable:
        """All rows of a split, checked; the label column of a TextTask holds class indices or numbers."""

    @abstractmethod
    def encode(self, table: TextTable, tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[Encoded]:
        """Rows of at most `max_length` tokens, not padded."""

    def check_separators(  # noqa: B027 (rows of most tasks have none)
        self, rows: list[Encoded], tokenizer: PreTrainedTokenizerBase, separators: Mapping[str, int]
    ) -> None:
        """ValueError where a method would not find rows' separator by the tokens that it names in its fields."""

    @abstractmethod
    def collate(
        self, rows: list[Encoded], pad_token_id: int, pad_to_multiple_of: int = 8
    ) -> dict[str, Tensor]:
        """One batch, padded on the right."""

    @abstractmethod
    def loss(self, logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
        """Sum over the rows of a batch, in fp32."""

    def weight(self, row: Encoded) -> int:
        """Terms that a row adds to the loss of its batch, which is their sum divided by their number."""
        return 1

    @abstractmethod
    def predictions(self, logits: Tensor, labels: Tensor) -> Tensor:
        """One value a row, which the metrics compare with its reference; logits in the precision they came in."""

    def reference(self, row: Encoded) -> int | float:
        """The value that the metrics compare a row's prediction with."""
        return row["labels"]

    def groups(self, train: TextTable) -> Sequence[Hashable]:
        """For each training row what it must not share with a held-out one, such as its prompt."""
        return range(len(train))

    def load(self) -> TaskData:
        """Rows to train and evaluate on; `development` leaves the evaluation splits unread."""
        train = self.split("train")
        if self.evaluate_on == "development":
            return self.development(train)
        sets = {split.removeprefix("validation_"): self.split(split) for split in self.evaluation_splits}
        return TaskData(train, sets)

    def development(self, train: TextTable) -> TaskData:
        """Rows to choose hyperparameters on: a tenth of the training rows."""
        return TaskData(*hold_out_tenth(train, self.groups(train)))

    def metrics(
        self, predictions: Mapping[str, ArrayLike], references: Mapping[str, ArrayLike]
    ) -> dict[str, float]:
        """Each metric as printed, by evaluation set: `accuracy_matched`, ..., and their mean `accuracy`."""
        scores: dict[str, float] = {}
        for metric in dict.fromkeys((self.main_metric, *self.side_metrics)):
            by_set = {
                name: as_printed(metric, self.kind, values, references[name])
                for name, values in predictions.items()
            }
            scores[metric] = sum(by_set.values()) / len(by_set)
            if len(by_set) > 1:
                scores |= {f"{metric}_{name}": score for name, score in by_set.items()}
        return scores

    def collapsed(self, predictions: Mapping[str, ArrayLike]) -> bool:
        """True if all rows of the evaluation got the same answer (to 1e-5 for numbers), or any got NaN."""
        values = np.concatenate([np.asarray(part, dtype=np.float64) for part in predictions.values()])
        return len(values) > 1 and not bool(np.ptp(values) > 1e-5)

    def identity(self) -> dict[str, Any]:
        """All of the task that can change a result: equal identities mean equal data and scores."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class SourceTask(Task):
    """A task whose rows come from a source: the hub, its mirror, or the micro-world."""

    source: Source

    def read(self, split: str) -> TextTable:
        """All rows of a split as they are stored."""
        return self.source.load(split)

    def development(self, train: TextTable) -> TaskData:
        """The source's own development rows where it has some."""
        if not self.source.has("development"):
            return super().development(train)
        return TaskData(train, {"development": self.split("development")})

    def identity(self) -> dict[str, Any]:
        """With what stands for the rows."""
        return asdict(self) | {"source": self.source.identity(self.stored_splits())}

    def stored_splits(self) -> list[str]:
        """The splits of the source that this task reads."""
        development = ["development"] if self.source.has("development") else []
        evaluated = self.evaluation_splits if self.evaluate_on == "validation" else development
        return ["train", *evaluated]


@dataclass(frozen=True, kw_only=True)
class TextTask(Task):
    """One text or a pair in, a class or a number out."""

    kinds: ClassVar[tuple[str, ...]] = ("classification", "regression")
    text: list[str]  # one or two columns
    label: str  # column
    labels: list[str]  # names of the classes in the order of their indices; empty for regression
    separator: str | None  # text between the two of a pair, beside what the tokenizer puts there; null: nothing more

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.text, str):
            raise ValueError(f"task.text {self.text!r} is not a list of columns: write [{self.text}]")
        if len(self.text) not in (1, 2):
            raise ValueError(f"task.text must name one or two columns, not {len(self.text)}: {self.text}")
        if len({*self.text, self.label}) <= len(self.text):
            raise ValueError(f"task.text {self.text} and task.label {self.label!r} name a column twice")
        if self.separator is not None and (len(self.text) == 1 or not self.separator):
            raise ValueError(f"task.separator {self.separator!r} must be null for one text, and some text for a pair")
        if self.kind == "classification" and len(set(self.labels)) < max(2, len(self.labels)):
            raise ValueError(f"task.labels must be two or more different classes, not {self.labels}")
        if self.kind == "regression" and self.labels:
            raise ValueError(f"task.labels must be empty for a regression, not {self.labels}")

    @property
    def num_labels(self) -> int:
        """Outputs of the head: classes, or 1 for regression."""
        return len(self.labels) or 1

    @abstractmethod
    def read(self, split: str) -> TextTable:
        """All rows of a split as they are stored."""

    def codes(self) -> dict[str, int]:
        """Class index by what the label column holds, as text."""
        return {name: index for index, name in enumerate(self.labels)}

    def split(self, split: str) -> TextTable:
        """All rows of a split; ValueError names the first row whose text or label is not valid."""
        table = self.read(split)
        texts = {column: table[column] for column in self.text}
        for column, values in texts.items():
            for row, value in enumerate(values):
                if not isinstance(value, str):
                    raise ValueError(f"{table.source}, row {row}: {column} is {value!r}, not text")
            if blank := [row for row, value in enumerate(values) if not value.strip()]:
                log.warning("%s: %s is empty in %d of %d rows, the first is row %d", table.source, column, len(blank),
                            len(values), blank[0])
        return TextTable(table.source, texts | {self.label: self._targets(table)})

    def _targets(self, table: TextTable) -> list[Any]:
        """The label column as class indices, or as numbers for regression."""
        values, codes = table[self.label], self.codes()
        convert = finite_number if self.kind == "regression" else lambda value: codes.get(label_name(value))
        targets = [convert(value) for value in values]
        if None in targets:
            row = targets.index(None)
            place = f"{table.source}, row {row}: {self.label}"
            if is_missing(values[row]):
                raise ValueError(f"{place} is missing ({values[row]!r}): leave such rows out, or give them one")
            if self.kind == "regression":
                raise ValueError(f"{place} {values[row]!r} is not a finite number")
            check_choice(place, label_name(values[row]), codes)
        return targets

    def encode(self, table: TextTable, tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[Encoded]:
        """Rows of at most `max_length` tokens, not padded: see encode_texts."""
        texts = [table[column] for column in self.text]
        columns = encode_texts(tokenizer, texts, self.separator, max_length, table.source)
        columns["labels"] = table[self.label]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def collate(
        self, rows: list[Encoded], pad_token_id: int, pad_to_multiple_of: int = 8
    ) -> dict[str, Tensor]:
        """input_ids, attention_mask and token_type_ids (rows, length), labels (rows); padded on the right."""
        import torch

        batch = padded(rows, {"input_ids": pad_token_id, "token_type_ids": 0}, pad_to_multiple_of)
        label_type = torch.float32 if self.kind == "regression" else torch.long
        batch["labels"] = torch.tensor([row["labels"] for row in rows], dtype=label_type)
        return batch

    def loss(self, logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
        """Cross entropy or squared error, summed over the rows, in fp32; logits (rows, num_labels)."""
        from torch.nn import functional

        if self.kind == "classification":
            return functional.cross_entropy(
                logits.float(), labels, reduction="sum", label_smoothing=label_smoothing
            )
        if label_smoothing:
            raise ValueError(f"trainer.label_smoothing must be 0 for the regression {self.name}")
        return functional.mse_loss(logits.float().squeeze(-1), labels.float(), reduction="sum")

    def predictions(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Class index or number of each row, (rows,), from logits (rows, num_labels)."""
        return logits.float().squeeze(-1) if self.kind == "regression" else logits.argmax(-1)


def padded(rows: list[Encoded], paddings: Mapping[str, int], multiple: int) -> dict[str, Tensor]:
    """attention_mask, and of `paddings` the columns that the rows have, (rows, length), filled up on the right."""
    import torch

    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    length = -(-int(lengths.max()) // multiple) * multiple
    batch = {"attention_mask": (torch.arange(length) < lengths[:, None]).long()}  # (rows, length)
    for name, padding in paddings.items():
        if name in rows[0]:
            values = [row[name] + [padding] * (length - len(row[name])) for row in rows]
            batch[name] = torch.tensor(values)  # (rows, length)
    return batch


def hold_out_tenth(train: TextTable, groups: Sequence[Hashable]) -> tuple[TextTable, dict[str, TextTable]]:
    """The training rows without a tenth of their groups, and that tenth: those of the lowest hash of their number.

    Groups are numbered as they first occur; `groups` has one for each row. The choice depends on them alone, so it
    is the same for every seed, model and method.
    """
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    count = len(numbers) // 10
    if not count:
        raise ValueError(f"{train.source}: {len(numbers)} rows are too few to hold out a tenth of them")
    hashes = [hashlib.sha256(f"development {number}".encode()).digest() for number in range(len(numbers))]
    lowest = set(sorted(range(len(numbers)), key=hashes.__getitem__)[:count])
    rows: dict[bool, list[int]] = {False: [], True: []}
    for row, group in enumerate(groups):
        rows[numbers[group] in lowest].append(row)
    return train.select(rows[False]), {"development": train.select(rows[True])}
