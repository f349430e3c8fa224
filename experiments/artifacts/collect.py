"""The runs of an artifact: planned, trained where they are missing, read from the store."""

from collections.abc import Mapping
from dataclasses import dataclass

from omegaconf import DictConfig

from experiments.artifacts.artifact import Data
from experiments.artifacts.plan import Slot, plan
from experiments.config.compose import Compose
from experiments.runs.source import changed_source
from experiments.store.store import RunRecord, Store
from experiments.sweeps.ensure import ensure
from experiments.sweeps.workers import Train
from experiments.tables.table import Cell
from lora.errors import check_choice


@dataclass(frozen=True)
class Collected:
    """What an artifact's numbers are made of."""

    slots: list[Slot]
    records: Mapping[str, RunRecord]   # of finished runs, by name
    problems: Mapping[str, str]        # why others have none
    unavailable: Mapping[str, str]     # by model, why its files are not there
    missing: list[str]                 # runs within the filters that have neither record nor problem
    changed: list[str]                 # which runs started from an adapter that is another by now


def collect(cfg: DictConfig, artifact: Data, suite: Data, rows: list[dict[str, str]], compose_train: Compose,
            train: Train) -> Collected:
    """Plan the cells of `rows`, train what is missing if `cfg.train`, and read the store.

    Raises FileNotFoundError where a model is to be trained, by name, whose files are not there.
    """
    seeds = sorted({*suite["seeds"], *(cfg.seeds or [])})
    slots, unavailable = plan(artifact, suite, rows, seeds, cfg.store, compose_train)
    if cfg.train and (named := [name for name in cfg.models or [] if name in unavailable]):
        raise FileNotFoundError(f"{named[0]} cannot be trained: {unavailable[named[0]]}")
    store, asked = Store(cfg.store), asked_for(cfg, suite, slots)
    runs = [run for slot in slots for run in slot.runs]
    records, problems = ensure(runs, store, cfg.jobs, train if cfg.train else None, asked)
    missing = [name for name in asked if name not in records and name not in problems]
    changed = {run.name: changed_source(records[run.name], store.adapter_folder(run.source.name))
               for run in runs if run.source is not None and run.name in records}
    return Collected(slots, records, problems, unavailable, missing, list(filter(None, changed.values())))


def asked_for(cfg: DictConfig, suite: Data, slots: list[Slot]) -> list[str]:
    """The names of the runs within the filters of the command line, each once."""
    seeds = suite["seeds"] if cfg.seeds is None else cfg.seeds
    return list(dict.fromkeys(run.name for slot in slots for run in slot.runs if run.seed in seeds
                              and all(cfg[f"{group}s"] is None or slot.ours[group] in cfg[f"{group}s"]
                                      for group in ("model", "task", "method"))))


def cell_of(paper: str, spread: str, slot: Slot, records: Mapping[str, RunRecord]) -> Cell:
    """What the paper prints and what our runs gave."""
    found = [records[run.name] for run in slot.runs if run.name in records]
    values = [_shown(record, slot.shows) for record in found if record.status == "done"]
    collapsed = sum(record.status == "collapsed" for record in found)
    return Cell(paper, spread, values, collapsed)


def _shown(record: RunRecord, shows: str) -> float:
    """`score`, or `metrics.<key>` of a finished run."""
    values = {"score": record.score} | {f"metrics.{key}": value for key, value in record.metrics.items()}
    check_choice(f"number of {record.run}", shows, values)
    value = values[shows]
    if value is None:
        raise ValueError(f"{record.run} is done but has no {shows}")
    return value
