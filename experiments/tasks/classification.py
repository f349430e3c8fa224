"""Classes (or, with task.kind=regression, numbers) of the user's own texts, from their own files."""

from dataclasses import dataclass

from experiments.tasks.base import TextTask
from experiments.tasks.labels import almost_the_same, is_missing, label_name
from experiments.tasks.own_files import OwnFiles

FEW = 10  # classes that any file may have; more are seen twice each, or they are numbers or texts


@dataclass(frozen=True, kw_only=True)
class Classification(OwnFiles, TextTask):
    """One text or a pair a row, in a file for each split."""

    # null: the values in the training file, sorted
    labels: list[str | int | float | bool] | None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        labels = self._values() if self.labels is None else self.labels
        object.__setattr__(self, "labels", [label_name(name) for name in labels])
        super().__post_init__()

    def _values(self) -> list[str]:
        """The label values of the training file; none for a regression."""
        if self.kind == "regression":
            return []
        table = self.read("train")
        for row, value in enumerate(table[self.label]):
            if isinstance(value, list | dict):
                raise ValueError(f"{table.source}, row {row}: {self.label} {value!r} is not one class")
        names = sorted({label_name(value) for value in table[self.label] if not is_missing(value)})
        if alike := almost_the_same(names):
            raise ValueError(f"{table.source}: the labels {' and '.join(map(repr, alike))} of column {self.label!r} "
                             "differ in spaces, case or the way of writing a number alone: write them as one class, "
                             "or give task.labels if they are several")
        if len(names) > max(FEW, len(table) / 2):
            raise ValueError(f"{table.source}: column {self.label!r} has {len(names)} different values in {len(table)} "
                             "rows: take another task.label, or task.kind=regression for numbers, or give task.labels "
                             "if they are classes")
        return names
