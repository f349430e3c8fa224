"""What the paper prints as trainable parameters beside what counting gives, for every model and method it names.

conf/artifact/counts.yaml says how a row's setting, written for people, becomes a config. A row that states no sizes
has no count, nor has one of a method that the file does not list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from experiments.artifacts.artifact import read_rows
from experiments.config.compose import Compose, check_file
from experiments.store.files import write_atomic
from lora.errors import check_choice

if TYPE_CHECKING:  # transformers takes seconds to import: it is imported where it is used
    from transformers import PreTrainedModel

HEADER = ["model", "method", "setting", "printed", "exact", "remark"]


def report(cfg: DictConfig, compose_train: Compose, train: Any) -> dict[str, Any]:
    """Count every row, print the list, save it; returns the last line. Nothing is trained."""
    from experiments.tables.text import cell, markdown_rows, print_rows

    artifact: Any = OmegaConf.to_container(cfg.artifact, resolve=True)
    printed = read_rows(artifact["paper"])
    check_methods(artifact, printed)
    shapes: dict[str, PreTrainedModel] = {}
    exact = [count_row(artifact, row, compose_train, shapes) for row in printed]
    rows = [[row["model"], row["method"], row["setting"], row["params_printed"], number, row["remark"] or None]
            for row, number in zip(printed, exact, strict=True)]
    print_rows(HEADER, rows)
    shown = [[*line[:4], None if line[4] is None else f"{line[4]:,}", line[5]] for line in rows]
    text = "\n".join([f"**{artifact['title']}**", "", markdown_rows(HEADER, [list(map(cell, r)) for r in shown]), ""])
    whole = pd.DataFrame(rows, columns=HEADER).astype({"exact": "Int64"}).to_csv(index=False)
    folder = Path(cfg.store) / "tables"
    files = [write_atomic(folder / f"{artifact['name']}.{suffix}", said) for suffix, said in
             (("md", text), ("csv", whole))]
    return {"artifact": artifact["name"], "files": [str(path) for path in files], "rows": len(rows),
            "counted": sum(number is not None for number in exact),
            "unlisted": sorted({row["method"] for row in printed} - artifact["settings"].keys())}


def check_methods(artifact: Mapping[str, Any], printed: list[dict[str, str]]) -> None:
    """Raise ValueError for a method or model of the artifact that the paper's list or conf/ does not have."""
    for method in artifact["settings"]:
        check_choice(f"method of artifact {artifact['name']}", method, {row["method"] for row in printed})
        check_file("method", method)
    for model in {row["model"] for row in printed}:
        check_file("model", artifact["models"].get(model, model))


def count_row(artifact: Mapping[str, Any], row: Mapping[str, str], compose_train: Compose,
              shapes: dict[str, PreTrainedModel]) -> int | None:
    """The exact number for a row of the paper's list; None where the row or the artifact does not say of what.

    `shapes` keeps a model of each name without weights from row to row, for the methods that leave it as it was.
    """
    from experiments.models.load import empty_model, kind_of
    from lora.bank import delete
    from lora.count import count

    overrides = row_overrides(artifact, row)
    if overrides is None:
        return None
    cfg = compose_train(overrides)
    method = instantiate(cfg.method)
    model = shapes.pop(cfg.model.name, None) or empty_model(cfg.model, kind_of(cfg.model), artifact["num_labels"])
    counts = count(model, method, cfg.model.pooler)
    if method.keeps_base():
        delete(model, "default")
        shapes[cfg.model.name] = model
    return counts.trainable + (counts.head if artifact["with_head"] in row["setting"] else 0)


def row_overrides(artifact: Mapping[str, Any], row: Mapping[str, str]) -> list[str] | None:
    """The command line of a row: what each pattern of its method finds in its setting.

    A pattern in a list gives the list of all that it finds. A pattern that matches without its group leaves the
    default; one that does not match means that the setting is not stated.
    """
    if row["method"] not in artifact["settings"]:
        return None
    overrides = [f"model={artifact['models'].get(row['model'], row['model'])}", f"method={row['method']}",
                 "preset=null"]
    for key, pattern in artifact["settings"][row["method"]].items():
        if isinstance(pattern, list):
            found = re.findall(pattern[0], row["setting"])
            if not found:
                return None
            overrides.append(f"{key}=[{','.join(found)}]")
        else:
            match = re.search(pattern, row["setting"])
            if match is None:
                return None
            overrides += [] if match[1] is None else [f"{key}={match[1]}"]
    return overrides
