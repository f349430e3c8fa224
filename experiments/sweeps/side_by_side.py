"""Compare every run of a store: settings, scores over seeds, and costs."""

import statistics
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.scores import Point, Scores, sizes_figure
from experiments.metrics import LOWER_IS_BETTER
from experiments.runs.identity import NOT_IDENTITY
from experiments.store.store import RunRecord
from experiments.tables.names import display_name
from experiments.tables.publish import Sheet
from experiments.tables.text import shown_score

NAMES = ("task.name", "model.name", "method.name")
METRIC = "task.main_metric"  # what the score is: a column of its own, and never two in one line
WHOLE = ["trainable", "tokens_per_second", "peak_memory_mb"]  # costs without decimals
OTHERS = ("task.evaluate_on", "model.init", "model.pooler")  # beside all of method and trainer


def compare(records: list[RunRecord]) -> pd.DataFrame:
    """One line a setting, the best median score first within task and model."""
    settings = pd.DataFrame([_setting(record.config) for record in records], dtype=object)
    names = list(NAMES)
    # an option that came after a run is off in it, as identities have it
    off = (settings == "false").groupby(settings["method.name"]).transform("any")
    settings = settings.mask(settings.isna() & off, "false")
    # an option counts where runs of one method differ in it, not where other methods lack it
    by_method = settings.groupby("method.name").nunique(dropna=False)
    differs = [key for key in settings if key not in (*names, METRIC) and (by_method[key] > 1).any()]
    settings = settings.reindex(columns=[*names, *differs, METRIC]).astype(object).fillna("-")
    settings = settings.rename(columns=lambda key: key.removesuffix(".name").split(".")[-1])
    groups: Any = settings.groupby(list(settings.columns), sort=False).indices.items()
    columns = list(settings.columns)
    lines = [dict(zip(columns, key, strict=True)) | _figures([records[i] for i in rows]) for key, rows in groups]
    table = pd.DataFrame(lines)
    table[WHOLE] = table[WHOLE].astype("Float64").round().astype("Int64")
    scores = table.score.astype(float)
    table["order"] = scores.where(table.main_metric.isin(LOWER_IS_BETTER), -scores)
    return table.sort_values(["task", "model", "order"], ignore_index=True).drop(columns="order")


def _setting(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of a config as words: no seed, path, logging or hardware."""
    flat = {f"{group}.{key}": value for group in ("task", "model", "method", "trainer")
            for key, value in config[group].items()}
    return {key: _word(value) for key, value in flat.items()
            if key in (*NAMES, METRIC, *OTHERS)
            or (key.startswith(("method.", "trainer.")) and key.removeprefix("trainer.") not in NOT_IDENTITY)}


def sheet_of(table: pd.DataFrame) -> Sheet:
    """The comparison as it is published."""
    shown = table.astype(object).where(table.notna(), None)
    for key in ("score", "spread"):
        shown[key] = [shown_score(metric, value) for metric, value in zip(table.main_metric, shown[key], strict=True)]
    rows = shown.astype(object).where(shown.notna(), None).values.tolist()
    return Sheet("runs", "Runs side by side", list(table.columns), rows, frame=table, labels=len(NAMES))


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


def _word(value: Any) -> str | None:
    """A setting as text, of one spelling for each value: 1024, 0.0005, true, q,v; None stays."""
    if isinstance(value, dict):
        return ",".join(f"{key}:{_word(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.12g}" if isinstance(value, float) else value if value is None else str(value)


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
