"""Classes (or, with task.kind=regression, numbers) of the user's own texts, from their own files."""

from dataclasses import asdict, dataclass
from typing import Any

from experiments.tasks.base import TextTask, label_name
from experiments.tasks.data import FileSource, TextTable


@dataclass(frozen=True, kw_only=True)
class Classification(TextTask):
    """One text or a pair a row, in a .csv, .json, .jsonl or .parquet file for each split."""

    files: dict[str, str | None]
    labels: list[str] | None  # type: ignore[assignment]  # null: the values found in the training file, sorted

    def __post_init__(self) -> None:
        labels = self._found() if self.labels is None else self.labels
        object.__setattr__(self, "labels", [label_name(name) for name in labels])
        super().__post_init__()

    def _found(self) -> list[str]:
        """The label values of the training file; none for a regression."""
        if self.kind == "regression":
            return []
        return sorted(
            {label_name(value) for value in self.read("train")[self.label] if value not in (None, "")}
        )

    def read(self, split: str) -> TextTable:
        return FileSource(files=self.files).load(split)

    def identity(self) -> dict[str, Any]:
        """The files by their sha256, wherever they are."""
        source = FileSource(files=self.files)
        digests = {split: source.digest(split) for split, file in self.files.items() if file is not None}
        return asdict(self) | {"files": digests}
