"""Tasks on the user's own files: their rows, and their identity by content."""

from dataclasses import asdict, dataclass
from typing import Any

from experiments.tasks.base import Task
from experiments.tasks.data import FileSource, TextTable


@dataclass(frozen=True, kw_only=True)
class OwnFiles(Task):
    """One file for each split: .csv, .tsv, .json (a list of objects), .jsonl or .parquet."""

    files: dict[str, str | None]

    def read(self, split: str) -> TextTable:
        """All rows of a split as they are stored."""
        return FileSource(files=self.files).load(split)

    def identity(self) -> dict[str, Any]:
        """The files by their sha256, wherever they are."""
        return asdict(self) | {"files": FileSource(files=self.files).identity(list(self.files))}
