"""Artifacts of scores (kind: scores): a table of the paper with our scores below the printed ones."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from experiments.artifacts.artifact import (
    Data,
    check_filters,
    check_suite,
    left_out,
    read_paper,
    start_note,
    suite_for,
    with_more,
)
from experiments.artifacts.collect import cell_of, collect
from experiments.artifacts.plan import Slot, stand_ins
from experiments.config.compose import Compose, plain_dict, run_config
from experiments.store.logger import Logger
from experiments.store.store import RunRecord
from experiments.sweeps.workers import Train
from experiments.tables.table import MARK_NOTES, Row, Table, save, show, tidy


def report(cfg: DictConfig, compose_train: Compose, train: Train) -> dict[str, Any]:
    """Plan the table, train what is missing, read the store, print and save; returns the last line."""
    artifact, suite = plain_dict(cfg.artifact), suite_for(plain_dict(cfg.suite), cfg.artifact.name)
    check_suite(suite)
    check_filters(cfg, suite)
    printed = with_more(read_paper(artifact), suite)
    found = collect(cfg, artifact, suite, printed, compose_train, train)
    slots, records, problems = found.slots, found.records, found.problems
    shown = slots if cfg.empty else with_runs(slots, records)
    notes = left_out(suite, printed) + [f"{name} is not there: {why}" for name, why in found.unavailable.items()]
    notes += [f"failed: {name}: {why}" for name, why in problems.items()] + found.changed
    table = fill(artifact, suite, printed, shown, records, notes, cfg.store)
    show(table)
    files = save(table, Path(cfg.store) / "tables", artifact["name"])
    cells = [cell for row in table.rows for cell in row.cells.values()]
    with Logger(cfg.logger, artifact["name"], run_config(cfg), Path(cfg.store), job_type="paper") as logger:
        logger.log_table(artifact["name"], tidy(table))
    return {
        "artifact": artifact["name"], "suite": suite["name"], "files": [str(path) for path in files],
        "cells": len(cells), "filled": sum(bool(cell.values) for cell in cells),
        "missing": found.missing,
        "failed": list(problems), "unavailable": found.unavailable,
        "collapsed": [name for name, record in records.items() if record.status == "collapsed"],
    }


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
    notes = [*_notes(artifact, suite, slots, rows, store), *problems]
    if not rows:
        notes.append(f"suite {suite['name']} has no model, task and method for any row")
    return Table(
        title=artifact["title"], labels=artifact["rows"], columns=columns, rows=rows, notes=notes,
        aggregate=artifact["aggregate"], digits=artifact["digits"], average=average,
        params=artifact["params"] is not None,
    )


def _notes(artifact: Data, suite: Data, slots: list[Slot], rows: list[Row], store: str) -> list[str]:
    """What a reader must know: what stands for what, how numbers were made, what marks mean."""
    sources = {row.source for row in rows}
    notes = [
        *stand_ins(slots), *start_note(artifact, suite),
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
        cells={slot.column: cell_of(row[slot.column], row.get(f"{slot.column}_std", ""), slot, records)
               for slot in slots},
    )
