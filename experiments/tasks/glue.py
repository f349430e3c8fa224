"""The eight GLUE tasks of the paper (section 5.1 and table 2), from the hub at a pinned revision."""

from dataclasses import dataclass

from experiments.data import HubSource, Table, load_split
from experiments.tasks.base import TextTask


@dataclass(frozen=True, kw_only=True)
class Glue(TextTask):
    """One GLUE task; on the hub its labels are class indices already, and -1 where they are hidden."""

    source: HubSource

    def read(self, split: str) -> Table:
        return load_split(self.source, split)

    def codes(self) -> dict[str, int]:
        return {str(index): index for index in range(len(self.labels))}
