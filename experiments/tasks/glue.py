"""The eight GLUE tasks of the paper (section 5.1 and table 2), from the hub at a pinned revision or in miniature."""

from dataclasses import dataclass

from experiments.tasks.base import SourceTask, TextTask


@dataclass(frozen=True, kw_only=True)
class Glue(SourceTask, TextTask):
    """One GLUE task; in its source labels are class indices already, and -1 where they are hidden."""

    def codes(self) -> dict[str, int]:
        return {str(index): index for index in range(len(self.labels))}
