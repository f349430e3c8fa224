"""The runs of an artifact: planned, trained where they are missing, read from the store."""

from collections.abc import Mapping
from dataclasses import dataclass

from omegaconf import DictConfig

from experiments.artifacts.artifact import Data
from experiments.artifacts.plan import Slot, plan
from experiments.config.compose import Compose
from experiments.runs.identity import Run, Train
from experiments.runs.source import changed_source
from experiments.store.store import RunRecord, Store
from experiments.sweeps.ensure import lots, read
from experiments.tables.table import Cell
from experiments.training.hardware import parallel_jobs
from lora.errors import check_choice


@dataclass(frozen=True)
class Found:
    """What an artifact's numbers are made of."""

    slots: list[Slot]
    records: Mapping[str, RunRecord]   # of finished runs, by name
    problems: Mapping[str, str]        # why others have none
    unavailable: Mapping[str, str]     # by model, why its files are not there
    missing: list[str]                 # runs within the filters that have neither record nor problem
    changed: list[str]                 # which runs started from an adapter that is another by now


def collect(cfg: DictConfig, artifact: Data, suite: Data, rows: list[dict[str, str]], compose_train: Compose,
            train: Train) -> Found:
    """Plan the cells of `rows`, train what is missing if `cfg.train`, and read the store.

    Raises FileNotFoundError where a model is to be trained, by name, whose files are not there.
    """
    seeds = sorted({*suite["seeds"], *(cfg.seeds or [])})
    slots, unavailable = plan(artifact, suite, rows, seeds, cfg.store, compose_train)
    if cfg.train and (named := [name for name in cfg.models or [] if name in unavailable]):
        raise FileNotFoundError(f"{named[0]} cannot be trained: {unavailable[named[0]]}")
    store = Store(cfg.store)
    records, problems = read(store, slots)
    if cfg.train and (runs := wanted(cfg, suite, slots, records, problems, store)):
        store.check_writable()
        ended: dict[str, str] = {}
        for lot in lots(runs):
            ended |= train(lot, parallel_jobs(cfg.jobs))
        records, problems = read(store, slots)
        problems = {name: why for name, why in (ended | problems).items() if name not in records}
    missing = [run.name for run in asked(cfg, suite, slots) if run.name not in records and run.name not in problems]
    changed = {run.name: changed_source(records[run.name], store.adapter_folder(run.source.name))
               for slot in slots for run in slot.runs if run.source is not None and run.name in records}
    return Found(slots, records, problems, unavailable, missing, list(filter(None, changed.values())))


def asked(cfg: DictConfig, suite: Data, slots: list[Slot]) -> list[Run]:
    """The runs within the filters of the command line, each once."""
    seeds = suite["seeds"] if cfg.seeds is None else cfg.seeds
    return list({run.name: run for slot in slots for run in slot.runs if run.seed in seeds
                 and all(cfg[f"{what}s"] is None or slot.ours[what] in cfg[f"{what}s"]
                         for what in ("model", "task", "method"))}.values())


def wanted(cfg: DictConfig, suite: Data, slots: list[Slot], records: Mapping[str, RunRecord],
           problems: Mapping[str, str], store: Store) -> list[Run]:
    """The runs to train: not done, readable where recorded, and within the filters of the command line.

    And those that one of them starts from, also where a record is here without its adapter.
    """
    runs = {run.name: run for run in asked(cfg, suite, slots)
            if run.name not in records and not problems.get(run.name, "").startswith("unreadable")}
    sources = {run.source.name: run.source for run in runs.values() if run.source is not None}
    gone = {name: run.again() for name, run in sources.items()
            if name in records and records[name].status == "done" and not store.has_adapter(records[name])}
    return [*gone.values(), *(run for name, run in (sources | runs).items() if name not in records)]


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
