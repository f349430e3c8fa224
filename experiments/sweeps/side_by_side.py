"""Compare every run of a store: settings, scores over seeds, and costs."""

import logging
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.scores import Point, Scores, sizes_figure
from experiments.metrics import LOWER_IS_BETTER
from experiments.store.files import check_writable
from experiments.store.store import RunRecord, Store
from experiments.sweeps.lines import NAMES, lines_of, settings_of
from experiments.tables.names import display_name
from experiments.tables.publish import Sheet, publish
from experiments.tables.publish_study import save_figure
from experiments.tables.text import shown_score

log = logging.getLogger(__name__)
WHOLE = ["trainable", "tokens_per_second", "peak_memory_mb"]  # costs without decimals


def compare(records: list[RunRecord]) -> pd.DataFrame:
    """One line a setting, the best median score first within task and model."""
    lines = lines_of(records)
    table = pd.concat([settings_of(lines), pd.DataFrame(list(map(_figures, lines)))], axis=1)
    table[WHOLE] = table[WHOLE].astype("Float64").round().astype("Int64")
    scores = table.score.astype(float)
    table["order"] = scores.where(table.main_metric.isin(LOWER_IS_BETTER), -scores)
    return table.sort_values(["task", "model", "order"], ignore_index=True).drop(columns="order")


def sheet_of(table: pd.DataFrame, notes: Sequence[str] = ()) -> Sheet:
    """The comparison as it is published."""
    shown = table.astype(object).where(table.notna(), None)
    for key in ("score", "spread"):
        shown[key] = [shown_score(metric, value) for metric, value in zip(table.main_metric, shown[key], strict=True)]
    rows = shown.astype(object).where(shown.notna(), None).values.tolist()
    return Sheet("runs", "Runs side by side", list(table.columns), rows, notes, frame=table, labels=len(NAMES))


def publish_side_by_side(table: pd.DataFrame, notes: Sequence[str], store: Store) -> list[Path]:
    """Print the comparison and write it into the store, with its figure; only print it where that is read-only."""
    sheet, folder = sheet_of(table, notes), store.root
    try:
        check_writable(f"store {folder}", folder / "tables")
    except OSError as error:
        publish(sheet, folder / "tables", ())
        log.warning("%s: the comparison is printed alone", error)
        return []
    files = publish(sheet, folder / "tables", ("md", "csv", "tex"))
    if (figure := side_by_side_figure(table)) is not None:
        files += save_figure(figure, folder / "figures", "runs")
    return files


def side_by_side_figure(table: pd.DataFrame) -> Figure | None:
    """A panel for each task and model: the score of each setting by its trainable parameters; None without scores."""
    scored = table[table.score.notna() & table.trainable.notna()]
    panels = []
    for (task, model, metric), of_panel in scored.groupby(["task", "model", "main_metric"], sort=False):
        methods: dict[str, list[Point]] = {}
        lines: list[dict[str, Any]] = [{str(key): value for key, value in line.items()}
                                       for line in of_panel.to_dict("records")]
        for line in lines:
            spread = None if pd.isna(line["spread"]) else float(line["spread"])
            point = Point(float(line["trainable"]), float(line["score"]), spread)
            methods.setdefault(display_name(line["method"]), []).append(point)
        panels.append([Scores(f"{display_name(str(model))} on {display_name(str(task))}", str(metric), methods)])
    if not panels:
        return None
    return sizes_figure(panels, "Median score over seeds by trainable parameters, a point for each setting; whiskers: "
                                "standard deviation over seeds.", joined=False)


def _figures(records: list[RunRecord]) -> dict[str, Any]:
    """Score over the seeds that neither failed nor collapsed, and median cost."""
    good = [record for record in records if record.status == "done" and record.score is not None]
    scores = [record.score for record in good if record.score is not None]

    def middle(key: str) -> float | None:
        values = [getattr(record, key) for record in good if getattr(record, key) is not None]
        return statistics.median(values) if values else None

    return {"score": statistics.median(scores) if scores else None,
            "spread": statistics.stdev(scores) if len(scores) > 1 else None, "seeds": len(scores),
            "collapsed": sum(record.status == "collapsed" for record in records),
            "failed": sum(record.status == "failed" for record in records),
            "best_epoch": ",".join(str(record.best_epoch) for record in good),
            "trainable": good[0].trainable if good else None, "seconds": middle("seconds"),
            "tokens_per_second": middle("tokens_per_second"), "peak_memory_mb": middle("peak_memory_mb")}
