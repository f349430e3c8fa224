"""A text in, a text out: the user's own prompts and targets, from their own files."""

from dataclasses import dataclass

from experiments.tasks.data import TextTable
from experiments.tasks.generation import Generation
from experiments.tasks.own_files import OwnFiles
from experiments.tasks.schemas import Pair


@dataclass(frozen=True, kw_only=True)
class TextToText(OwnFiles, Generation):
    """A prompt and a target a row, in a file for each split."""

    prompt: str  # column
    target: str  # column

    def split(self, split: str) -> TextTable:
        """All rows of a split; ValueError names the first row whose prompt or target is not a text."""
        table = self.read(split)
        columns = {column: table[column] for column in (self.prompt, self.target)}
        for column, values in columns.items():
            for row, value in enumerate(values):
                if not isinstance(value, str):
                    raise ValueError(f"{table.source}, row {row}: {column} is {value!r}, not text")
        return TextTable(table.source, columns)

    def pairs(self, table: TextTable) -> list[Pair]:
        return [(prompt, [target]) for prompt, target in zip(table[self.prompt], table[self.target], strict=True)]
