"""Which runs fill which cell: an artifact file maps a CSV of the paper to configs, a suite what stands in.

conf/artifact/<name>.yaml names a CSV of conf/paper and how its rows and columns become overrides of
conf/train.yaml; conf/suite/<name>.yaml what stands for the paper's models, tasks and presets, and the seeds.
"""

import string
from collections.abc import Mapping
from typing import Any

import pandas as pd
from omegaconf import DictConfig

import experiments.config.resolvers  # noqa: F401  registers ${preset:...}
from experiments.config.compose import check_file
from experiments.store.paths import CONF
from experiments.tables.table import ADDED, AGGREGATES
from lora.errors import check_choice

Data = Mapping[str, Any]
def suite_for(suite: dict[str, Any], artifact: str) -> dict[str, Any]:
    """The suite with what stands in for this artifact: models, tasks, sizes, the rows that are run, and those added."""
    own = {"models": {}, "tasks": {}, "rows": {}, "sizes": {}, "more": []} | suite["artifacts"].get(artifact, {})
    groups = {group: suite[group] | own[group] for group in ("models", "tasks")}
    return suite | groups | {key: own[key] for key in ("rows", "sizes", "more")}


def check_suite(suite: Data) -> None:
    """Raise ValueError for a model, task or method that the suite names and conf/ does not have."""
    for group, names in (("model", suite["models"].values()), ("task", suite["tasks"].values()),
                         ("method", suite["methods"])):
        for name in names:
            check_file(group, name, f"suite {suite['name']}: ")


def read_paper(artifact: Data) -> list[dict[str, str]]:
    """The CSV's rows as text; ValueError for an unknown file, aggregate, or a column that it lacks."""
    check_choice("aggregate", artifact["aggregate"], AGGREGATES)
    rows = read_rows(artifact["paper"])
    optional = [artifact[key] for key in ("params", "average") if artifact[key] is not None]
    named = [*optional, *artifact["rows"], *artifact["columns"], *artifact["words"]]
    named += (artifact["init_from"] or {"rows": ()})["rows"]
    for config in (artifact["run"], *artifact["columns"].values()):
        for template in map(_word, config.values()):
            named += [field for _, field, _, _ in string.Formatter().parse(template) if field]
    for column in named:
        check_choice(f"column of {artifact['paper']}.csv", column, rows[0])
    return rows


def with_more(printed: list[dict[str, str]], suite: Data) -> list[dict[str, str]]:
    """The paper's rows and those that the suite adds; ValueError for a column that the paper's do not have."""
    for row in suite["more"]:
        for column in row:
            check_choice(f"suite {suite['name']}, more: column", column, printed[0])
    return [*printed, *(dict.fromkeys(printed[0], "") | row | {"source": ADDED} for row in suite["more"])]


def read_rows(paper: str) -> list[dict[str, str]]:
    """The rows of a CSV of conf/paper as text; ValueError for an unknown file."""
    check_choice("paper", paper, [path.stem for path in (CONF / "paper").glob("*.csv")])
    frame = pd.read_csv(CONF / "paper" / f"{paper}.csv", dtype=str, keep_default_na=False)
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def start_note(artifact: Data, suite: Data) -> list[str]:
    """Where runs start, if not all from the pre-trained model."""
    if (start := artifact["init_from"]) is None:
        return []
    first = ", ".join(dict.fromkeys(start["tasks"].values()))
    ours = "that of the same model, method and seed" if suite["init_from"] else "the pre-trained model"
    return [f"the paper's own runs (no mark) on {', '.join(start['tasks'])} start from its {first} adapter, ours from "
            f"{ours}"]


def left_out(suite: Data, printed: list[dict[str, str]]) -> list[str]:
    """The rows of the paper's table that the suite does not run for this artifact, by column."""
    others = {column: dict.fromkeys(row[column] for row in printed if row[column] not in allowed)
              for column, allowed in suite["rows"].items()}
    return [f"suite {suite['name']} leaves out the rows of {column} {', '.join(words)}"
            for column, words in others.items() if words]


def check_filters(cfg: DictConfig, suite: Data) -> None:
    """Raise ValueError for a model, task or method to train that the suite does not have."""
    for what in ("model", "task"):
        for name in cfg[f"{what}s"] or []:
            check_choice(f"{what} of suite {suite['name']}", name, set(suite[f"{what}s"].values()))
    for method in cfg.methods or []:
        check_choice(f"method of suite {suite['name']}", method, suite["methods"])


def _word(value: Any) -> str:
    """A YAML value as a command line writes it."""
    return "null" if value is None else str(value)
