"""Plan an artifact: which runs fill which cell."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.artifacts.artifact import Data, _word
from experiments.config.compose import Compose
from experiments.models.files import model_identity
from experiments.models.record import ships
from experiments.runs.identity import Run, run_name
from lora.errors import check_choice

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Slot:
    """A cell that the suite can fill: where it stands, what fills it, and in whose place."""

    row: int
    column: str
    shows: str
    ours: dict[str, str]    # model, task, method: ours
    theirs:  dict[str, str]  # the same in the paper's words
    runs: list[Run]


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


def start_task(artifact: Data, suite: Data, row: Mapping[str, str], task: str) -> str | None:
    """The suite's task from whose adapter a run on `task` (the paper's word) starts, None for the base model."""
    start = artifact["init_from"] if suite["init_from"] else None
    if start is None or task not in start["tasks"]:
        return None
    if any(row[column] not in allowed for column, allowed in start["rows"].items()):
        return None
    check_choice(f"init_from of suite {suite['name']}: {task} starts from", start["tasks"][task], suite["tasks"])
    return suite["tasks"][start["tasks"][task]]


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
