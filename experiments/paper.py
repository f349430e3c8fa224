"""Tables of the paper with ours beside theirs: train what is missing, read the store, print and save.

A cell and a seed are one run of conf/train.yaml (experiments.artifacts), found in the store by its name or
trained in a process of its own.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments import counts
from experiments.artifacts import (
    Compose,
    Data,
    Run,
    Slot,
    check_suite,
    left_out,
    plan,
    read_paper,
    stand_ins,
    suite_for,
    train_configs,
)
from experiments.entry import entry
from experiments.runs import RunRecord, Store
from experiments.sweep import parallel_jobs
from experiments.tables import MARK_NOTES, Cell, Row, Table, save, show
from lora.errors import check_choice

Train = Callable[[list[Run], int], dict[str, str]]
ONE_THREAD = {  # for the libraries that take their number of threads from the environment
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), "1"),
    "TOKENIZERS_PARALLELISM": "false",
}
log = logging.getLogger(__name__)


@entry("paper", examples=[
    "python -m experiments.paper artifact=table2 suite=minilm",
    "python -m experiments.paper artifact=table6 suite=minilm train=false",
    "python -m experiments.paper artifact=table2 suite=nano models=[roberta-nano] store=results/local empty=false",
    "python -m experiments.paper artifact=counts",
    "python -m experiments.paper artifact=table2 suite=paper tasks=[mrpc,rte] seeds=[0] jobs=2",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Run what is missing for a table of the paper, print it beside the paper's numbers, save it."""
    check_choice("kind", cfg.artifact.kind, KINDS)
    with train_configs() as compose_train:
        return KINDS[cfg.artifact.kind](cfg, compose_train, train_apart)


def report(cfg: DictConfig, compose_train: Compose, train: Train) -> dict[str, Any]:
    """Plan the table, train what is missing, read the store, print and save; returns the last line."""
    artifact, suite = _plain(cfg.artifact), suite_for(_plain(cfg.suite), cfg.artifact.name)
    check_suite(suite)
    check_filters(cfg, suite)
    printed = read_paper(artifact)
    seeds = sorted({*suite["seeds"], *(cfg.seeds or [])})
    slots, unavailable = plan(artifact, suite, printed, seeds, cfg.store, compose_train)
    if cfg.train and (named := [name for name in cfg.models or [] if name in unavailable]):
        raise FileNotFoundError(f"{named[0]} cannot be trained: {unavailable[named[0]]}")
    store = Store(cfg.store)
    records, problems = read(store, slots)
    if cfg.train and (missing := wanted(cfg, suite, slots, records, problems)):
        store.check_writable()
        ended = train(missing, parallel_jobs(cfg.jobs))
        records, problems = read(store, slots)
        problems = {name: why for name, why in (ended | problems).items() if name not in records}
    shown = slots if cfg.empty else with_runs(slots, records)
    notes = left_out(suite, printed) + [f"{name} is not there: {why}" for name, why in unavailable.items()]
    notes += [f"failed: {name}: {why}" for name, why in problems.items()]
    table = fill(artifact, suite, printed, shown, records, notes, cfg.store)
    show(table)
    files = save(table, store.root / "tables", artifact["name"])
    cells = [cell for row in table.rows for cell in row.cells.values()]
    names = list(dict.fromkeys(run.name for slot in slots for run in slot.runs))
    return {
        "artifact": artifact["name"], "suite": suite["name"], "files": [str(path) for path in files],
        "cells": len(cells), "filled": sum(bool(cell.values) for cell in cells),
        "missing": [name for name in names if name not in records and name not in problems],
        "failed": list(problems), "unavailable": unavailable,
        "collapsed": [name for name, record in records.items() if record.status == "collapsed"],
    }


def check_filters(cfg: DictConfig, suite: Data) -> None:
    """Raise ValueError for a model, task or method to train that the suite does not have."""
    for what in ("model", "task"):
        for name in cfg[f"{what}s"] or []:
            check_choice(f"{what} of suite {suite['name']}", name, set(suite[f"{what}s"].values()))
    for method in cfg.methods or []:
        check_choice(f"method of suite {suite['name']}", method, suite["methods"])


def read(store: Store, slots: list[Slot]) -> tuple[dict[str, RunRecord], dict[str, str]]:
    """Records by run, and by run why a stored one gives no number: it failed, or cannot be read."""
    records: dict[str, RunRecord] = {}
    problems: dict[str, str] = {}
    for name in dict.fromkeys(run.name for slot in slots for run in slot.runs):
        try:
            record = store.read(name)
        except (ValueError, TypeError) as error:
            log.warning("%s: skipped", error)
            problems[name] = f"unreadable: {error}"
            continue
        if record is not None and record.finished_well:
            records[name] = record
        elif record is not None:
            problems[name] = (record.error or {}).get("message", "no message")
    return records, problems


def wanted(cfg: DictConfig, suite: Data, slots: list[Slot], records: Mapping[str, RunRecord],
           problems: Mapping[str, str]) -> list[Run]:
    """The runs to train: not done, readable where recorded, and within the filters of the command line."""
    seeds = suite["seeds"] if cfg.seeds is None else cfg.seeds
    runs = {
        run.name: run
        for slot in slots
        if all(cfg[f"{what}s"] is None or slot.ours[what] in cfg[f"{what}s"] for what in ("model", "task", "method"))
        for run in slot.runs
        if run.seed in seeds and run.name not in records
        and not problems.get(run.name, "").startswith("unreadable")
    }
    return list(runs.values())


def train_apart(runs: list[Run], jobs: int) -> dict[str, str]:
    """Train each run in a process of its own, `jobs` at a time; name -> reason for those that ended badly.

    A crash of one, even of its interpreter, does not stop the others.
    """
    problems: dict[str, str] = {}
    with ThreadPoolExecutor(jobs) as pool:
        ended = pool.map(partial(_train_one, alone=jobs == 1), runs)
        for i, (run, problem) in enumerate(zip(runs, ended, strict=True)):
            log.info("%d of %d: %s %s", i + 1, len(runs), run.name, problem or "done")
            problems |= {run.name: problem} if problem else {}
    return problems


def _train_one(run: Run, alone: bool) -> str:
    """'' or why the process ended badly. Runs side by side have one thread each and no progress bar."""
    command = [sys.executable, "-m", "experiments.train", *run.overrides]
    command += [] if alone else ["trainer.threads=1"]
    ended = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=None if alone else subprocess.PIPE,
                           env=None if alone else os.environ | ONE_THREAD, text=True, check=False)
    said = [line for line in (ended.stderr or "").splitlines() if line.strip()]
    return "" if ended.returncode == 0 else " ".join([f"exit code {ended.returncode}", *said[-1:]])


def with_runs(slots: list[Slot], records: Mapping[str, RunRecord]) -> list[Slot]:
    """The slots of the rows and columns in which something was run."""
    ran = [slot for slot in slots if any(run.name in records for run in slot.runs)]
    rows, columns = {slot.row for slot in ran}, {slot.column for slot in ran}
    return [slot for slot in slots if slot.row in rows and slot.column in columns]


def fill(artifact: Data, suite: Data, printed: list[dict[str, str]], slots: list[Slot],
         records: Mapping[str, RunRecord], problems: list[str], store: str) -> Table:
    """The table of the rows and columns that have slots; `problems` are notes on what it lacks."""
    columns = [column for column in artifact["columns"] if any(slot.column == column for slot in slots)]
    rows = []
    for i, row in enumerate(printed):
        if own := [slot for slot in slots if slot.row == i]:
            rows.append(_row(artifact, row, own, records))
    average = artifact["average"] is not None and len(columns) == len(artifact["columns"])
    notes = [*_notes(artifact, slots, rows, store), *problems]
    if not rows:
        notes.append(f"suite {suite['name']} has no model, task and method for any row")
    return Table(
        title=artifact["title"], labels=artifact["rows"], columns=columns, rows=rows, notes=notes,
        aggregate=artifact["aggregate"], digits=artifact["digits"], average=average,
        params=artifact["params"] is not None,
    )


def _notes(artifact: Data, slots: list[Slot], rows: list[Row], store: str) -> list[str]:
    """What a reader must know: what stands for what, how numbers were made, what marks mean."""
    sources = {row.source for row in rows}
    notes = [
        *stand_ins(slots),
        f"ours: {artifact['aggregate']} over seeds of each run's best epoch ± standard deviation over seeds"
        f" (number of seeds), from {store}; – has no runs",
    ]
    if artifact["params"] is not None:
        notes.append("params: trainable parameters; ours exact, without the task head")
    notes += [note for source, note in MARK_NOTES.items() if source in sources]
    if artifact["note"] is not None:
        notes.append(artifact["note"])
    if any(cell.collapsed for row in rows for cell in row.cells.values()):
        notes.append("collapsed: a run with constant predictions or a loss that is not finite, kept out of the number")
    return notes


def _row(artifact: Data, row: Mapping[str, str], slots: list[Slot],
         records: Mapping[str, RunRecord]) -> Row:
    labels = [row[label] for label in artifact["rows"]]
    ours = [slots[0].ours.get(label, row[label]) for label in artifact["rows"]]
    found = [records[run.name] for slot in slots for run in slot.runs if run.name in records]
    return Row(
        labels=labels, our_labels=ours, source=row.get("source", ""),
        params=row[artifact["params"]] if artifact["params"] else "",
        trainable=sorted({record.trainable for record in found if record.trainable is not None}),
        average=row[artifact["average"]] if artifact["average"] else "",
        cells={slot.column: _cell(row, slot, records) for slot in slots},
    )


def _cell(row: Mapping[str, str], slot: Slot, records: Mapping[str, RunRecord]) -> Cell:
    found = [records[run.name] for run in slot.runs if run.name in records]
    values = [_shown(record, slot.shows) for record in found if record.status == "done"]
    collapsed = sum(record.status == "collapsed" for record in found)
    return Cell(row[slot.column], row.get(f"{slot.column}_std", ""), values, collapsed)


def _shown(record: RunRecord, shows: str) -> float:
    """`score`, or `metrics.<key>` of a finished run."""
    values = {"score": record.score} | {f"metrics.{key}": value for key, value in record.metrics.items()}
    check_choice(f"number of {record.run}", shows, values)
    value = values[shows]
    if value is None:
        raise ValueError(f"{record.run} is done but has no {shows}")
    return value


def _plain(node: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(node, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


KINDS = {"scores": report, "counts": counts.report}  # what an artifact file says it is

if __name__ == "__main__":
    main()
