"""The paper's generation data sets: E2E, WebNLG and DART of GPT-2, WikiSQL and SAMSum of GPT-3 (sections 5.4, 5.5)."""

from dataclasses import dataclass

from experiments.tasks.base import SourceTask
from experiments.tasks.data import TextTable
from experiments.tasks.generation import Generation
from experiments.tasks.schemas import SCHEMAS, Pair, read_pairs
from lora.errors import check_choice


@dataclass(frozen=True, kw_only=True)
class DataToText(SourceTask, Generation):
    """A data set of the hub, of its mirror, or in miniature."""

    schema: str  # of experiments.tasks.schemas: how a row becomes a prompt and references

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("task.schema", self.schema, SCHEMAS)

    def pairs(self, table: TextTable) -> list[Pair]:
        return read_pairs(self.schema, table)

    def split(self, split: str) -> TextTable:
        return self.read(split)

    def stored_splits(self) -> list[str]:
        tested = self.test_splits if self.evaluate_on == "validation" else []
        return list(dict.fromkeys(map(self.stored_split, [*super().stored_splits(), *tested])))

    def stored_split(self, split: str) -> str:
        """The split of the data set that holds this one's rows."""
        return split


@dataclass(frozen=True, kw_only=True)
class WebNLG(DataToText):
    """WebNLG 2017, whose test split has categories that the training split lacks: test_seen, test_unseen."""

    def split(self, split: str) -> TextTable:
        """Rows of a split, or with _seen and _unseen those of categories that training has and has not."""
        table = super().split(stored := self.stored_split(split))
        if stored == split:
            return table
        return by_category(table, set(super().split("train")["category"]), seen=split == f"{stored}_seen")

    def stored_split(self, split: str) -> str:
        return split.removesuffix("_seen").removesuffix("_unseen")


def by_category(table: TextTable, trained: set[str], seen: bool) -> TextTable:
    """The rows whose category is among the trained ones, or is not; ValueError where there are none."""
    rows = [row for row, category in enumerate(table["category"]) if (category in trained) == seen]
    if not rows:
        raise ValueError(f"{table.source}: no row of a category that training has {'' if seen else 'not '}seen")
    return table.select(rows)
