"""Artifacts of scores (kind: scores): a table of the paper with our scores below the printed ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig

from experiments.artifacts.artifact import Artifact, PrintedRow, read_artifact, read_rows
from experiments.artifacts.collect import Collected, cell_of, collect
from experiments.artifacts.plan import Grid, PlannedCell, StartFrom, stand_ins
from experiments.artifacts.suite import Suite, read_suite
from experiments.config.compose import ManyConfigs
from experiments.store.store import RunRecord
from experiments.sweeps.workers import Train
from experiments.tables.publish import publish_artifact
from experiments.tables.table import AGGREGATES, MARK_NOTES, Row, Table, sheet_of
from lora.errors import check_choice


@dataclass(frozen=True)
class ScoresArtifact(Artifact):
    """A table of scores: a CSV of the paper, and how its rows and columns become runs."""

    paper: str              # a CSV in conf/paper
    aggregate: str          # over seeds
    shows: str              # score, or metrics.<key>
    digits: int             # decimals of ours
    rows: list[str]         # CSV columns that label a row
    run: dict[str, Any]
    columns: dict[str, dict[str, Any]]
    params: str | None      # CSV column of trainable parameters
    average: str | None     # CSV column of the mean over all columns
    words: dict[str, dict[str, str]] = field(default_factory=dict)
    sizes: dict[str, Any] = field(default_factory=dict)
    init_from: StartFrom | None = field(default=None, metadata={"of": StartFrom})
    note: str | None = None

    def grid(self) -> Grid:
        """Its runs."""
        return Grid(self.run, self.columns, self.shows, self.words, self.params, self.sizes, self.init_from)

    def printed(self) -> list[dict[str, str]]:
        """The CSV's rows; ValueError for an unknown file or aggregate, or a column that the CSV lacks."""
        check_choice("aggregate", self.aggregate, AGGREGATES)
        printed, grid = read_rows(self.paper), self.grid()
        start = self.init_from.rows if self.init_from else {}
        optional = [column for column in (self.params, self.average) if column is not None]
        for column in (*optional, *self.rows, *self.columns, *self.words, *start, *grid.fields()):
            check_choice(f"column of {self.paper}.csv", column, printed[0])
        return printed


def report(cfg: DictConfig, compose_train: ManyConfigs, train: Train) -> dict[str, Any]:
    """Plan the table, train what is missing, read the store, publish; returns the last line."""
    artifact, suite = read_artifact(ScoresArtifact, cfg), read_suite(cfg, cfg.artifact.name)
    suite.check_filters(cfg)
    printed = suite.with_more(artifact.printed())
    collected = collect(cfg, artifact.grid(), suite, printed, compose_train, train)
    table = fill(artifact, suite, printed, collected, cfg)
    sheet = sheet_of(table, artifact.name)
    files = publish_artifact(sheet, cfg)
    cells = [cell for row in table.rows for cell in row.cells.values()]
    return {
        "artifact": artifact.name, "suite": suite.name, "files": [str(path) for path in files],
        "cells": len(cells), "filled": sum(bool(cell.values) for cell in cells),
        "missing": collected.missing,
        "failed": list(collected.problems), "unavailable": dict(collected.unavailable),
        "collapsed": [name for name, record in collected.records.items() if record.status == "collapsed"],
    }


def with_runs(cells: list[PlannedCell], records: Mapping[str, RunRecord]) -> list[PlannedCell]:
    """The cells of the rows and columns in which something was run."""
    ran = [cell for cell in cells if any(run.name in records for run in cell.runs)]
    rows, columns = {cell.row for cell in ran}, {cell.column for cell in ran}
    return [cell for cell in cells if cell.row in rows and cell.column in columns]


def fill(artifact: ScoresArtifact, suite: Suite, printed: Sequence[PrintedRow], collected: Collected,
         cfg: DictConfig) -> Table:
    """The table of the rows and columns that have cells."""
    cells = collected.cells if cfg.empty else with_runs(collected.cells, collected.records)
    columns = [column for column in artifact.columns if any(cell.column == column for cell in cells)]
    rows = [_row(artifact, row, of_row, collected.records) for i, row in enumerate(printed)
            if (of_row := [cell for cell in cells if cell.row == i])]
    notes = [*_notes(artifact, suite, cells, rows), *suite.left_out(printed), *collected.problem_notes(),
             *collected.missing_note()]
    if not collected.cells:
        notes.append(f"suite {suite.name} has no model, task and method for any row")
    elif not rows:
        notes.append(f"no run of suite {suite.name} is in the store yet")
    return Table(
        title=artifact.title, labels=artifact.rows, columns=columns, rows=rows, notes=notes,
        aggregate=artifact.aggregate, digits=artifact.digits, params=artifact.params is not None,
        average=artifact.average is not None and len(columns) == len(artifact.columns), source=cfg.store,
    )


def _notes(artifact: ScoresArtifact, suite: Suite, cells: list[PlannedCell], rows: list[Row]) -> list[str]:
    """Stand-ins, how numbers were made, and the meaning of marks."""
    sources = {row.source for row in rows}
    notes = [
        *stand_ins(cells), *artifact.grid().start_note(suite),
        f"ours: {artifact.aggregate} over seeds of each run's best epoch ± standard deviation over seeds"
        " (number of seeds); – has no runs",
    ]
    if artifact.params is not None:
        notes.append("params: trainable parameters; ours exact, without the task head")
    notes += [note for source, note in MARK_NOTES.items() if source in sources]
    if artifact.note is not None:
        notes.append(artifact.note)
    if any(cell.collapsed for row in rows for cell in row.cells.values()):
        notes.append("collapsed: a run with constant predictions or a loss that is not finite, kept out of the number")
    return notes


def _row(artifact: ScoresArtifact, row: PrintedRow, cells: list[PlannedCell],
         records: Mapping[str, RunRecord]) -> Row:
    of_row = [records[run.name] for cell in cells for run in cell.runs if run.name in records]
    return Row(
        labels=[row[label] for label in artifact.rows],
        our_labels=[cells[0].ours.get(label, row[label]) for label in artifact.rows],
        source=row.get("source", ""),
        params=row[artifact.params] if artifact.params else "",
        trainable=sorted({record.trainable for record in of_row if record.trainable is not None}),
        average=row[artifact.average] if artifact.average else "",
        cells={cell.column: cell_of(row[cell.column], row.get(f"{cell.column}_std", ""), cell, records)
               for cell in cells},
    )
