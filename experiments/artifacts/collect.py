"""The runs of an artifact: planned, trained where they are missing, read from the store."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from omegaconf import DictConfig

from experiments.artifacts.artifact import PrintedRow
from experiments.artifacts.plan import GROUPS, Grid, PlannedCell, plan
from experiments.artifacts.suite import Suite
from experiments.config.compose import ManyConfigs
from experiments.runs.source import changed_source
from experiments.store.store import RunRecord, Store
from experiments.sweeps.ensure import ensure
from experiments.sweeps.lines import pooled_notes
from experiments.sweeps.workers import Train
from experiments.tables.table import Cell
from lora.errors import check_choice

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Collected:
    """The cells of an artifact with the records of their runs."""

    cells: list[PlannedCell]
    records: Mapping[str, RunRecord]   # of finished runs, by name
    problems: Mapping[str, str]        # why others have none
    unavailable: Mapping[str, str]     # by model, why its files are not there
    missing: list[str]                 # runs within the filters that have neither record nor problem
    asked: int                         # runs within the filters
    changed: list[str]                 # which runs started from an adapter that is another by now

    def missing_note(self) -> list[str]:
        """'208 of 320 runs are missing: seeds 3, 4', none where all runs are there."""
        if not self.missing:
            return []
        names = set(self.missing)
        seeds = {run.seed for cell in self.cells for run in cell.runs if run.name in names}
        word = "seeds" if len(seeds) > 1 else "seed"
        return [f"{len(self.missing)} of {self.asked} runs are missing: {word} {', '.join(map(str, sorted(seeds)))}"]

    def problem_notes(self) -> list[str]:
        """Notes on models that are not there, runs that failed or started from another adapter, and cells that pool."""
        of_cells = [[self.records[run.name] for run in cell.runs if run.name in self.records] for cell in self.cells]
        return [*(f"{model} is not there: {why}" for model, why in self.unavailable.items()),
                *(f"failed: {name}: {why}" for name, why in self.problems.items()), *self.changed,
                *pooled_notes(of_cells, with_device=False)]


def collect(cfg: DictConfig, grid: Grid, suite: Suite, printed: Sequence[PrintedRow], compose_train: ManyConfigs,
            train: Train) -> Collected:
    """Plan the cells of the printed rows, train what is missing if `cfg.train`, and read the store.

    Raises FileNotFoundError where a model is to be trained, by name, whose files are not there.
    """
    seeds, store = sorted({*suite.seeds, *(cfg.seeds or [])}), Store(cfg.store)

    def with_runs(ours: Mapping[str, str]) -> bool:
        """False where there is nothing to train and nothing to read."""
        return is_asked_for(cfg, ours) or not store.is_empty()

    log.info("%s of suite %s: looking for its runs in %s", cfg.artifact.name, suite.name, cfg.store)
    cells, unavailable = plan(grid, suite, printed, seeds, cfg.store, compose_train, with_runs)
    if cfg.train and (named := [name for name in cfg.models or [] if name in unavailable]):
        raise FileNotFoundError(f"{named[0]} cannot be trained: {unavailable[named[0]]}")
    asked = asked_for(cfg, suite, cells)
    runs = [run for cell in cells for run in cell.runs]
    records, problems = ensure(runs, store, cfg.jobs, train if cfg.train else None, asked)
    missing = [name for name in asked if name not in records and name not in problems]
    changed = {run.name: changed_source(records[run.name], store.adapter_folder(run.source.name))
               for run in runs if run.source is not None and run.name in records}
    return Collected(cells, records, problems, unavailable, missing, len(asked), list(filter(None, changed.values())))


def asked_for(cfg: DictConfig, suite: Suite, cells: list[PlannedCell]) -> list[str]:
    """The names of the runs within the filters of the command line, each once."""
    seeds = suite.seeds if cfg.seeds is None else cfg.seeds
    return list(dict.fromkeys(run.name for cell in cells for run in cell.runs
                              if run.seed in seeds and is_asked_for(cfg, cell.ours)))


def is_asked_for(cfg: DictConfig, ours: Mapping[str, str]) -> bool:
    """True where the model, task and method of a cell are within the filters of the command line."""
    return all(cfg[f"{group}s"] is None or ours[group] in cfg[f"{group}s"] for group in GROUPS)


def cell_of(paper: str, spread: str, planned: PlannedCell, records: Mapping[str, RunRecord]) -> Cell:
    """The numbers of the paper and of our runs."""
    of_cell = [records[run.name] for run in planned.runs if run.name in records]
    values = [_number(record, planned.shows) for record in of_cell if record.status == "done"]
    return Cell(paper, spread, values, sum(record.status == "collapsed" for record in of_cell))


def _number(record: RunRecord, shows: str) -> float:
    """`score`, or `metrics.<key>` of a finished run."""
    values = {"score": record.score} | {f"metrics.{key}": value for key, value in record.metrics.items()}
    check_choice(f"number of {record.run}", shows, values)
    value = values[shows]
    if value is None:
        raise ValueError(f"{record.run} is done but has no {shows}")
    return value
