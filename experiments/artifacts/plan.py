"""Plan an artifact: which runs fill which cell."""

import logging
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.artifacts.artifact import PrintedRow, yaml_word
from experiments.artifacts.suite import Suite
from experiments.config.compose import ManyConfigs, quoted
from experiments.models.files import model_identity
from experiments.models.record import ships
from experiments.runs.identity import Run, all_seeds
from experiments.tables.names import display_name
from lora.errors import check_choice

GROUPS = ("model", "task", "method")  # config groups for which a suite has stand-ins
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StartFrom:
    """The paper's runs that start from its adapter on another task: task -> that task, in rows with these words."""

    tasks: dict[str, str]
    rows: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """How rows and columns of a table become command lines; `{x}` in a value is the row's CSV column x."""

    run: Mapping[str, Any]                        # config key -> value, of every cell
    columns: Mapping[str, Mapping[str, Any]]      # column -> its further keys; `shows` replaces the one below
    shows: str = "score"                          # the number of a cell: score, or metrics.<key>
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # CSV column -> its word -> the config's
    params: str | None = None                     # CSV column of the printed size
    sizes: Mapping[str, Any] = field(default_factory=dict)  # method -> size as printed -> config keys
    init_from: StartFrom | None = None

    def fields(self) -> Iterator[str]:
        """The CSV columns that the values name."""
        for config in (self.run, *self.columns.values()):
            for template in map(yaml_word, config.values()):
                yield from (name for _, name, _, _ in string.Formatter().parse(template) if name)

    def config(self, suite: Suite, row: PrintedRow, column: str) -> dict[str, str]:
        """The config keys of one cell, in the paper's words for model, task and method."""
        words = {**row, **{key: by_word.get(row[key], row[key]) for key, by_word in self.words.items()}}
        config = {**self.run, **self.columns[column], **self._size(suite, row)}
        return {key: yaml_word(value).format(**words) for key, value in config.items()}

    def _size(self, suite: Suite, row: PrintedRow) -> dict[str, Any]:
        """The keys that give a row the printed size: the suite's before the artifact's, none where neither has some."""
        for sizes in (suite.changes.sizes, self.sizes):
            if keys := sizes.get(row.get("method", ""), {}).get(row.get(self.params or "", "")):
                return dict(keys)
        return {}

    def start_task(self, suite: Suite, row: PrintedRow, task: str) -> str | None:
        """The suite's task from whose adapter a run on `task` (the paper's word) starts, None for the base model."""
        start = self.init_from if suite.init_from else None
        if start is None or task not in start.tasks:
            return None
        if any(row[column] not in allowed for column, allowed in start.rows.items()):
            return None
        check_choice(f"init_from of suite {suite.name}: {task} starts from", start.tasks[task], suite.tasks)
        return suite.tasks[start.tasks[task]]

    def start_note(self, suite: Suite) -> list[str]:
        """Where runs start, if not all from the pre-trained model."""
        if (start := self.init_from) is None:
            return []
        first = ", ".join(dict.fromkeys(start.tasks.values()))
        ours = "that of the same model, method and seed" if suite.init_from else "the pre-trained model"
        return [f"the paper's own runs (no mark) on {', '.join(start.tasks)} start from its {first} adapter, ours from "
                f"{ours}"]


@dataclass(frozen=True)
class PlannedCell:
    """A cell that the suite can fill: where it stands, what fills it, and in whose place."""

    row: int
    column: str
    shows: str
    ours: dict[str, str]    # model, task, method: ours
    theirs: dict[str, str]  # the same in the paper's words
    runs: list[Run]


def plan(grid: Grid, suite: Suite, printed: Sequence[PrintedRow], seeds: list[int], store: str,
         compose_train: ManyConfigs, with_runs: Callable[[Mapping[str, str]], bool] = lambda ours: True,
         ) -> tuple[list[PlannedCell], dict[str, str]]:
    """Every cell that the suite has a model, a task and a method for, with one run a seed.

    And by model why its files are not there: its cells have no runs. Nor have those whose model, task and method (ours)
    are not `with_runs`.
    """
    cells = list(_cells(grid, suite, printed, store))
    chosen = [(config, start) for cell, config, start in cells if with_runs(cell.ours)]
    compose_train.learn([*(_lines(config) for config, _ in chosen),
                         *(_lines(config | {"task": start}) for config, start in chosen if start is not None)])
    runs = PlannedRuns(seeds, compose_train)
    planned = [replace(cell, runs=runs.of(config, start) if with_runs(cell.ours) else [])
               for cell, config, start in cells]
    return planned, {model: why for model, why in runs.absences.items() if why}


def _cells(grid: Grid, suite: Suite, printed: Sequence[PrintedRow],
           store: str) -> Iterator[tuple[PlannedCell, dict[str, str], str | None]]:
    """Each cell that the suite can fill, as yet without runs, its config keys, and the task that it starts from."""
    for i, row in enumerate(printed):
        for column in grid.columns if suite.runs_row(row) else ():
            config = grid.config(suite, row, column)
            shows = config.pop("shows", grid.shows)
            theirs = {group: config[group] for group in GROUPS}
            ours = _stand_ins_for(theirs, suite)
            if ours is None:
                continue
            preset = suite.presets.get(row.get("source", ""), suite.presets.get(theirs["model"], suite.preset))
            config |= ours | {"preset": yaml_word(preset), "store": quoted(store)}
            start = grid.start_task(suite, row, theirs["task"])
            yield PlannedCell(i, column, shows, ours, theirs, []), config, start


class PlannedRuns:
    """Plans the runs of cells."""

    def __init__(self, seeds: list[int], compose_train: ManyConfigs) -> None:
        self.seeds = seeds
        self.compose_train = compose_train
        self.absences: dict[str, str] = {}  # by model why its files are not there, '' where they are
        self.known: dict[str, Any] = {}     # of all_seeds: no file changes while runs are planned

    def of(self, config: Mapping[str, str], start: str | None) -> list[Run]:
        """One run a seed, from the adapter of the task `start` if it is one; none where the model is not there."""
        if self.absences.get(model := config["model"]):
            return []
        composed = self.compose_train.plain(_lines(config))
        if model not in self.absences:
            self.absences[model] = _absence(OmegaConf.create(composed["model"]))
            if self.absences[model]:
                log.warning("%s is not there: %s", model, self.absences[model])
                return []
        sources: Sequence[Run | None] = [None] * len(self.seeds)
        if start is not None:
            first = {**config, "task": start}
            sources = self._runs(self.compose_train.plain(_lines(first)), first, sources)
        return self._runs(composed, config, sources)

    def _runs(self, composed: Mapping[str, Any], config: Mapping[str, str], sources: Sequence[Run | None]) -> list[Run]:
        """One run a seed, each from its own source or None; they differ in `seed` and `init_from` alone."""
        runs, of_all = [], all_seeds(composed, self.known)
        for seed, source in zip(self.seeds, sources, strict=True):
            changes: dict[str, Any] = {"seed": seed}
            keys = {"seed": str(seed)}
            if source is not None:
                changes["init_from"] = f"{composed['store']}/{source.name}"
                keys["init_from"] = quoted(changes["init_from"])
            runs.append(of_all.run({**composed, **changes}, (*_lines(config), *_lines(keys)), source))
        return runs


def _absence(model: DictConfig) -> str:
    """Why the files of a model are not to be had, '' where they are.

    ValueError for files that were altered; FileNotFoundError for those of a model that is in the repository.
    """
    try:
        model_identity(model)
    except FileNotFoundError as error:
        if ships(model):
            raise
        return str(error)
    return ""


def _stand_ins_for(theirs: Mapping[str, str], suite: Suite) -> dict[str, str] | None:
    """The suite's model, task and method in place of the paper's, or None where it has none."""
    model, task = suite.models.get(theirs["model"]), suite.tasks.get(theirs["task"])
    if theirs["method"] not in suite.methods or model is None or task is None:
        return None
    return {"model": model, "task": task, "method": theirs["method"]}


def _lines(config: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in config.items()]


def stand_ins(cells: Sequence[PlannedCell]) -> list[str]:
    """'MiniLM stands for GPT-3 175B', all models in one line, then all tasks: of those that are not the paper's own."""
    notes = []
    for group in ("model", "task"):
        pairs = dict.fromkeys((cell.ours[group], cell.theirs[group]) for cell in cells)
        notes.append(", ".join(f"{display_name(ours)} stands for {display_name(theirs)}"
                               for ours, theirs in pairs if ours != theirs))
    return [note for note in notes if note]
