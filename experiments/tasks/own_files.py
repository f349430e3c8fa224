"""Tasks on the user's own files: their rows, and their identity by content."""

import logging
from dataclasses import asdict, dataclass
from typing import Any

from experiments.tasks.base import Task, TaskData
from experiments.tasks.data import FileSource, TextTable

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class OwnFiles(Task):
    """One file for each split: .csv, .tsv, .json (a list of objects, or one a line), .jsonl or .parquet."""

    files: dict[str, str | None]

    def read(self, split: str) -> TextTable:
        """All rows of a split as they are stored."""
        return FileSource(files=self.files).load(split)

    def load(self) -> TaskData:
        """As every task; a warning says where more than one in twenty rows of a set are among those to train on."""
        data = super().load()
        trained = set(zip(*data.train.columns.values(), strict=True))
        for name, table in data.evaluation.items():
            same = sum(row in trained for row in zip(*table.columns.values(), strict=True))
            if same > len(table) / 20:
                log.warning("%s: %d of the %d rows of %s are among the rows to train on, too: the score says little of "
                            "new ones", table.source, same, len(table), name)
        return data

    def identity(self) -> dict[str, Any]:
        """The files by their sha256, wherever they are."""
        return asdict(self) | {"files": FileSource(files=self.files).identity(list(self.files))}
