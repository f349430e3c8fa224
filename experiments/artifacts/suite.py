"""A suite: what stands for the paper's models, tasks and presets, and the seeds (conf/suite/<name>.yaml)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from omegaconf import DictConfig

from experiments.artifacts.artifact import PrintedRow, read_config
from experiments.config.compose import check_file
from experiments.tables.table import ADDED
from lora.errors import check_choice


@dataclass(frozen=True)
class Changes:
    """The changes of a suite for one artifact: stand-ins and sizes of its own, the rows that are run, those added."""

    models: dict[str, str] = field(default_factory=dict)
    tasks: dict[str, str] = field(default_factory=dict)
    rows: dict[str, list[str]] = field(default_factory=dict)   # CSV column -> the words of rows that are run
    sizes: dict[str, Any] = field(default_factory=dict)        # method -> size -> config keys
    more: list[dict[str, str]] = field(default_factory=list)   # rows that the paper does not have


@dataclass(frozen=True)
class Suite:
    """Stand-ins, seeds and presets; `changes` are those for the artifact at hand."""

    name: str
    store: str
    preset: str
    presets: dict[str, str]  # another preset for a CSV `source` or a model of the paper
    seeds: list[int]
    methods: list[str]
    jobs: int
    init_from: bool          # start from another task's adapter where the paper did
    models: dict[str, str]   # the paper's model -> ours
    tasks: dict[str, str]    # the paper's task -> ours
    artifacts: dict[str, Any]
    changes: Changes = field(default_factory=Changes, metadata={"key": False})  # of `artifacts`, for one of them

    def allowed(self, column: str, row: PrintedRow) -> bool:
        """False for a row that the suite leaves out by its word in this column."""
        check_choice(f"suite {self.name}: rows: column", column, row)
        return row[column] in self.changes.rows[column]

    def runs_row(self, row: PrintedRow) -> bool:
        """True for a row of the paper's table that the suite runs."""
        return all(self.allowed(column, row) for column in self.changes.rows)

    def left_out(self, printed: Sequence[PrintedRow]) -> list[str]:
        """A note for each column by which rows of the paper's table are not run."""
        words = {column: dict.fromkeys(row[column] for row in printed if not self.allowed(column, row))
                 for column in self.changes.rows}
        return [f"suite {self.name} leaves out the rows of {column} {', '.join(of_column)}"
                for column, of_column in words.items() if of_column]

    def with_more(self, printed: list[dict[str, str]]) -> list[dict[str, str]]:
        """The paper's rows and those that the suite adds; ValueError for a column that the paper's do not have."""
        for row in self.changes.more:
            for column in row:
                check_choice(f"suite {self.name}, more: column", column, printed[0])
        blank = dict.fromkeys(printed[0], "")
        return [*printed, *(blank | row | {"source": ADDED} for row in self.changes.more)]

    def check_filters(self, cfg: DictConfig) -> None:
        """ValueError for a model, task or method of the command line that the suite does not have."""
        groups: dict[str, Iterable[str]] = {"model": self.models.values(), "task": self.tasks.values(),
                                            "method": self.methods}
        for group, names in groups.items():
            for name in cfg[f"{group}s"] or []:
                check_choice(f"{group} of suite {self.name}", name, list(names))

    def _check(self) -> None:
        for group, names in (("model", self.models.values()), ("task", self.tasks.values()),
                             ("method", self.methods)):
            for name in names:
                check_file(group, name, f"suite {self.name}: ")


def read_suite(cfg: DictConfig, artifact: str) -> Suite:
    """The suite of conf/paper.yaml with its changes for an artifact.

    ValueError for a key that a suite does not have, and for a model, task or method that conf/ does not have.
    """
    file = f"suite/{cfg.suite.get('name', '?')}.yaml"
    suite = read_config(Suite, cfg.suite, file)
    changes = read_config(Changes, suite.artifacts.get(artifact, {}), f"{file}: artifacts: {artifact}")
    made = replace(suite, models=suite.models | changes.models, tasks=suite.tasks | changes.tasks, changes=changes)
    made._check()
    return made
