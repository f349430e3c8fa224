"""Trainable parameters that the paper prints, beside exact counts, for every model and method it names (kind: counts).

conf/artifact/counts.yaml says how a row's setting, written for people, becomes a config. A row that states no sizes
has no count, nor has one of a method that the file does not list.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig
from transformers import PreTrainedModel

from experiments.artifacts.artifact import Artifact, PrintedRow, read_artifact, read_rows
from experiments.config.compose import Compose, check_file
from experiments.models.load import empty_model, kind_of
from experiments.sweeps.workers import Train
from experiments.tables.publish import Sheet, publish_artifact
from lora.bank import delete
from lora.count import count
from lora.errors import check_choice

COLUMNS = ["model", "method", "setting", "printed", "exact", "remark"]


@dataclass(frozen=True)
class CountsArtifact(Artifact):
    """The paper's list of parameter counts, and how a row's setting becomes a config."""

    paper: str                           # a CSV in conf/paper
    store: str
    models: dict[str, str]               # the paper's model -> its file in conf/model
    num_labels: int                      # of an encoder's head
    with_head: str                       # a setting with these words counts the head too
    settings: dict[str, dict[str, Any]]  # the paper's method -> config key -> a pattern, or [pattern] for a list


def report(cfg: DictConfig, compose_train: Compose, train: Train) -> dict[str, Any]:
    """Count every row, publish the list; returns the last line. Nothing is trained."""
    artifact = read_artifact(CountsArtifact, cfg)
    printed = read_rows(artifact.paper)
    check_methods(artifact, printed)
    shapes: dict[str, PreTrainedModel] = {}
    exact = [count_row(artifact, row, compose_train, shapes) for row in printed]
    rows = [[row["model"], row["method"], row["setting"], row["params_printed"], number, row["remark"] or None]
            for row, number in zip(printed, exact, strict=True)]
    sheet = Sheet(artifact.name, artifact.title, COLUMNS, rows, labels=3,
                  frame=pd.DataFrame(rows, columns=COLUMNS).astype({"exact": "Int64"}))
    files = publish_artifact(sheet, cfg)
    return {"artifact": artifact.name, "files": [str(path) for path in files], "rows": len(rows),
            "counted": sum(number is not None for number in exact),
            "unlisted": sorted({row["method"] for row in printed} - artifact.settings.keys())}


def check_methods(artifact: CountsArtifact, printed: Sequence[PrintedRow]) -> None:
    """Raise ValueError for a method or model of the artifact that the paper's list or conf/ does not have."""
    for method in artifact.settings:
        check_choice(f"method of artifact {artifact.name}", method, {row["method"] for row in printed})
        check_file("method", method)
    for model in {row["model"] for row in printed}:
        check_file("model", artifact.models.get(model, model))


def count_row(artifact: CountsArtifact, row: PrintedRow, compose_train: Compose,
              shapes: dict[str, PreTrainedModel]) -> int | None:
    """The exact number for a row of the paper's list; None where the row or the artifact does not say of what.

    `shapes` keeps a model of each name without weights from row to row, for the methods that leave it as it was.
    """
    overrides = row_overrides(artifact, row)
    if overrides is None:
        return None
    cfg = compose_train(overrides)
    method = instantiate(cfg.method)
    model = shapes.pop(cfg.model.name, None) or empty_model(cfg.model, kind_of(cfg.model), artifact.num_labels)
    counts = count(model, method, cfg.model.pooler)
    if method.keeps_base():
        delete(model, "default")
        shapes[cfg.model.name] = model
    return counts.trainable + (counts.head if artifact.with_head in row["setting"] else 0)


def row_overrides(artifact: CountsArtifact, row: PrintedRow) -> list[str] | None:
    """The command line of a row: the value that each pattern of its method has in its setting.

    A pattern in a list gives the list of all that it finds. A pattern that matches without its group leaves the
    default; one that does not match means that the setting is not stated.
    """
    if row["method"] not in artifact.settings:
        return None
    overrides = [f"model={artifact.models.get(row['model'], row['model'])}", f"method={row['method']}",
                 "preset=null"]
    for key, pattern in artifact.settings[row["method"]].items():
        if isinstance(pattern, list):
            values = re.findall(pattern[0], row["setting"])
            if not values:
                return None
            overrides.append(f"{key}=[{','.join(values)}]")
        else:
            match = re.search(pattern, row["setting"])
            if match is None:
                return None
            overrides += [] if match[1] is None else [f"{key}={match[1]}"]
    return overrides
