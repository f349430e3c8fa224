"""Which runs fill which cell: an artifact file maps a CSV of the paper to configs, a suite what stands in.

conf/artifact/<name>.yaml names a CSV of conf/paper and how its rows and columns become overrides of
conf/train.yaml; conf/suite/<name>.yaml what stands for the paper's models, tasks and presets, and the seeds.
"""

import logging
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

import experiments.presets  # noqa: F401  registers ${preset:...}
from experiments.entry import CONF
from experiments.models import model_identity, ships
from experiments.runs import RunRecord, Store, run_name
from experiments.tables import ADDED, AGGREGATES
from lora.errors import check_choice

Data = Mapping[str, Any]
Compose = Callable[[list[str]], DictConfig]
Train = Callable[[list["Run"], int], dict[str, str]]  # runs, and how many at a time -> why some ended badly
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """One seed of a cell: its name in the store, the command line that trains it, and the run that it starts from."""

    name: str
    seed: int
    overrides: tuple[str, ...]
    source: "Run | None" = None

    def again(self) -> "Run":
        """The same run, computed though it has a record."""
        return replace(self, overrides=(*self.overrides, "overwrite=true"))


@dataclass(frozen=True)
class Slot:
    """A cell that the suite can fill: where it stands, what fills it, and in whose place."""

    row: int
    column: str
    shows: str
    ours: dict[str, str]    # model, task, method: ours
    theirs:  dict[str, str]  # the same in the paper's words
    runs: list[Run]


def train_configs() -> AbstractContextManager[Compose]:
    """Compose conf/train.yaml with overrides, also inside a program that hydra runs."""
    return configs("train")


@contextmanager
def configs(name: str) -> Iterator[Compose]:
    """The same of any file of conf/."""
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base=None):
            yield partial(compose, name)
    finally:
        GlobalHydra.instance().hydra = running


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


def check_file(group: str, name: str, where: str = "") -> None:
    """Raise ValueError unless conf/<group> has a file of that name."""
    check_choice(f"{where}{group}", name, [path.stem for path in (CONF / group).glob("*.yaml")])


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


def plan(artifact: Data, suite: Data, printed: list[dict[str, str]], seeds: list[int], store: str,
         compose_train: Compose) -> tuple[list[Slot], dict[str, str]]:
    """Every cell that the suite has a model, a task and a method for, with one run a seed.

    And by model why its files are not there: its cells have no runs.
    """
    slots, unavailable = [], {}
    for i, row in enumerate(printed):
        if any(row[column] not in allowed for column, allowed in suite["rows"].items()):
            continue
        words = row | {key: known.get(row[key], row[key]) for key, known in artifact["words"].items()}
        for column, own in artifact["columns"].items():
            config = {key: _word(value).format(**words)
                      for key, value in (artifact["run"] | own | _sizes(artifact, suite, row)).items()}
            shows = config.pop("shows", artifact["shows"])
            theirs = {key: config[key] for key in ("model", "task", "method")}
            if (ours := _chosen(theirs, suite)) is None:
                continue
            known = suite["presets"]
            preset = known.get(row.get("source", ""), known.get(theirs["model"], suite["preset"]))
            config |= ours | {"preset": _word(preset), "store": f"'{store}'"}
            runs: list[Run] = []
            if ours["model"] not in unavailable:
                cfg = compose_train(_lines(config))
                if why := _absence(cfg.model):
                    log.warning("%s is not there: %s", ours["model"], why)
                    unavailable[ours["model"]] = why
                else:
                    sources: list[Run | None] = [None] * len(seeds)
                    if (start := start_task(artifact, suite, row, theirs["task"])) is not None:
                        first = config | {"task": start}
                        sources = [*_runs(compose_train(_lines(first)), first, seeds, sources)]
                    runs = _runs(cfg, config, seeds, sources)
            slots.append(Slot(i, column, shows, ours, theirs, runs))
    return slots, unavailable


def _sizes(artifact: Data, suite: Data, row: Mapping[str, str]) -> dict[str, Any]:
    """What a row adds to its run to have the size that the paper prints: the suite's word before the artifact's."""
    for sizes in (suite.get("sizes", {}), artifact.get("sizes", {})):
        if found := sizes.get(row.get("method", ""), {}).get(row.get(artifact["params"] or "", "")):
            return dict(found)
    return {}


def _absence(model: DictConfig) -> str:
    """Why the files of a model are not to be had, '' where they are.

    ValueError for files that were altered; FileNotFoundError for those of a model that is in the repository.
    """
    try:
        model_identity(model)
    except FileNotFoundError as error:
        if OmegaConf.is_config(model) and ships(model):
            raise
        return str(error)
    return ""


def _chosen(theirs: Mapping[str, str], suite: Data) -> dict[str, str] | None:
    """What the suite runs in place of the paper's model, task and method, or None where it has nothing."""
    if theirs["method"] not in suite["methods"]:
        return None
    ours = {"model": suite["models"].get(theirs["model"]), "task": suite["tasks"].get(theirs["task"])}
    return None if None in ours.values() else ours | {"method": theirs["method"]}


def _word(value: Any) -> str:
    """A YAML value as a command line writes it."""
    return "null" if value is None else str(value)


def start_task(artifact: Data, suite: Data, row: Mapping[str, str], task: str) -> str | None:
    """The suite's task from whose adapter a run on `task` (the paper's word) starts, None for the base model."""
    start = artifact["init_from"] if suite["init_from"] else None
    if start is None or task not in start["tasks"]:
        return None
    if any(row[column] not in allowed for column, allowed in start["rows"].items()):
        return None
    check_choice(f"init_from of suite {suite['name']}: {task} starts from", start["tasks"][task], suite["tasks"])
    return suite["tasks"][start["tasks"][task]]


def start_note(artifact: Data, suite: Data) -> list[str]:
    """Where runs start, if not all from the pre-trained model."""
    if (start := artifact["init_from"]) is None:
        return []
    first = ", ".join(dict.fromkeys(start["tasks"].values()))
    ours = "that of the same model, method and seed" if suite["init_from"] else "the pre-trained model"
    return [f"the paper's own runs (no mark) on {', '.join(start['tasks'])} start from its {first} adapter, ours from "
            f"{ours}"]


def _lines(config: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in config.items()]


def _runs(cfg: DictConfig, config: Mapping[str, str], seeds: list[int], sources: Sequence[Run | None]) -> list[Run]:
    """One run a seed, each from its own source or None. `cfg` is composed once for all: composing is slow, and they
    differ in `seed` and `init_from` alone."""
    runs = []
    for seed, source in zip(seeds, sources, strict=True):
        cfg.seed, own = seed, {"seed": str(seed)}
        if source is not None:
            cfg.init_from = f"{cfg.store}/{source.name}"
            own["init_from"] = f"'{cfg.init_from}'"
        runs.append(Run(run_name(cfg), seed, (*_lines(config), *_lines(own)), source))
    return runs


def stand_ins(slots: list[Slot]) -> list[str]:
    """'minilm stands for gpt3', all models in one line, then all tasks: of those that are not the paper's own."""
    pairs = [dict.fromkeys((slot.ours[what], slot.theirs[what]) for slot in slots) for what in ("model", "task")]
    said = [[f"{ours} stands for {theirs}" for ours, theirs in found if ours != theirs] for found in pairs]
    return [", ".join(words) for words in said if words]


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


def read(store: Store, slots: list[Slot]) -> tuple[dict[str, RunRecord], dict[str, str]]:
    """Records by run, and by run why a stored one gives no number: it failed, or cannot be read."""
    records: dict[str, RunRecord] = {}
    problems: dict[str, str] = {}
    runs = [run for slot in slots for run in slot.runs]
    for name in dict.fromkeys(run.name for run in [*runs, *(run.source for run in runs if run.source is not None)]):
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


def plain_dict(node: DictConfig) -> dict[str, Any]:
    """A config as data."""
    plain = OmegaConf.to_container(node, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def run_config(cfg: DictConfig) -> dict[str, Any]:
    """What wandb is told of how an artifact was made."""
    return {key: value for key, value in plain_dict(cfg).items() if key != "logger"}
