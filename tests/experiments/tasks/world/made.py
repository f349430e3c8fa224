"""The miniature tasks as tests read them: rows by split, and the sentences in them."""

import re
from functools import cache
from typing import Any

from hydra.utils import instantiate
from omegaconf import OmegaConf

from experiments.tasks.world.source import WorldSource
from experiments.tasks.world.world import World
from tests.conftest import ROOT

CLASSED = ["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte"]
TOLD = ["e2e", "webnlg", "dart", "wikisql", "samsum"]
TASKS = CLASSED + TOLD
REPORTS = re.compile(r"^(?:they say that|the letter said that|\w+ thinks that|\w+ :|in other words ,|(?:yes|no) ,) ")


def task(name: str, *overrides: str) -> Any:
    """A task of conf/task in the world of conf/world."""
    cfg: Any = OmegaConf.load(ROOT / "conf" / "task" / f"{name}-nano.yaml")
    cfg.source.world = OmegaConf.load(ROOT / "conf" / "world" / "default.yaml")
    del cfg["defaults"]
    return instantiate(OmegaConf.merge(cfg, OmegaConf.from_dotlist(list(overrides))))


WORLD: World = task("rte").source.world


@cache
def rows(name: str, split: str) -> list[dict[str, Any]]:
    """Rows of a split: the first thousand of training, two hundred of another."""
    source = task(name).source  # whose other splits all tests share, as conf/task has them
    if split == "train":
        source = WorldSource(name=name, world=WORLD, rows={"train": 1000})
    columns = source.load(split).columns
    found = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return found if split == "train" else found[:200]


def splits(name: str) -> list[str]:
    """As in conf/task: train, development, and those that tables report."""
    return list(task(name).source.rows)


def all_rows(*names: str) -> list[tuple[str, str, dict[str, Any]]]:
    """(task, split, row)."""
    return [(name, split, row) for name in names for split in splits(name) for row in rows(name, split)]


def texts(value: Any) -> list[str]:
    """Every text in a row."""
    if isinstance(value, str):
        return [value]
    value = [value[key] for key in value if key != "comment"] if isinstance(value, dict) else value
    return [text for part in value for text in texts(part)] if isinstance(value, list) else []


def told(name: str, row: dict[str, Any]) -> list[str]:
    """The texts of a row that are made of sentences which other splits must not have."""
    columns = {"e2e": ["human_reference"], "webnlg": ["lex"], "dart": ["annotations"], "wikisql": ["question"],
               "samsum": ["summary"]}.get(name) or [column for column, value in row.items() if isinstance(value, str)]
    lines = r"^\w+ : (.* \.|wh\w+ did you .* \?)$"  # other questions are formulas
    replies = re.findall(lines, row["dialogue"], re.MULTILINE) if name == "samsum" else []
    return replies + [text for column in columns for text in texts(row[column]) if re.search(r" [.?]$", text)]


def sentences(text: str) -> list[str]:
    """The simple sentences and questions of a text, whoever says them."""
    found = []
    for sentence in re.findall(r"\S[^.?]*[.?]", text):
        *first, last = re.split(r" , (?:and|but|so) ", REPORTS.sub("", sentence))
        found += [*(f"{part} ." for part in first), last]
    return found
