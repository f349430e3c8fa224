"""Artifacts about what adapters learnt (kind: study): find their runs, train those whose adapters are not here, draw.

An artifact file names a kind of study (experiments.artifacts.studies.question) and the runs that it needs, by rank and
seed. Records are committed and adapters are not, so a run whose record is here without its adapter is trained again.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from analysis.adapters.read import AdapterUpdates, read_updates
from analysis.adapters.updates import Problem
from experiments.artifacts.artifact import Data, check_filters, check_suite, read_rows, suite_for
from experiments.artifacts.plan import Slot, plan, stand_ins
from experiments.artifacts.studies.question import Answer, Key, Question, Subject
from experiments.config.compose import Compose, plain_dict, run_config
from experiments.runs.identity import Run
from experiments.store.locate import locate
from experiments.store.store import RunRecord, Store
from experiments.sweeps.ensure import ensure
from experiments.sweeps.workers import Train
from experiments.tables.publish import publish_study
from experiments.tables.table import save, show, tidy
from experiments.tables.text import print_rows
from lora.errors import check_choice

THERE, MISSING, NO_ADAPTER, COLLAPSED, FAILED, UNREADABLE = (
    "there", "not trained", "trained, its adapter is not here", "collapsed", "failed", "unreadable")
Runs = Mapping[Key, Run]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """How far a run is: one of the words above, and why."""

    word: str
    why: str

    def __str__(self) -> str:
        return f"{self.word}: {self.why}" if self.why else self.word


def report(cfg: DictConfig, compose_train: Compose, train: Train) -> dict[str, Any]:
    """Plan the runs, train those that are missing, study what is there; returns the last line."""
    artifact, suite = plain_dict(cfg.artifact), suite_for(plain_dict(cfg.suite), cfg.artifact.name)
    check_suite(suite)
    check_filters(cfg, suite)
    question: Question = instantiate(artifact["study"], _convert_="all")
    printed = [] if artifact["paper"] is None else read_rows(artifact["paper"])
    slot, runs = runs_of(artifact, suite, question.runs(), cfg.store, compose_train)
    store, asked = Store(cfg.store), asked_for(cfg, slot, runs)
    records, ended = ensure(list(runs.values()), store, cfg.jobs, train if cfg.train else None, asked, adapters=True)
    states = {key: state(store, records.get(run.name), ended.get(run.name, "")) for key, run in runs.items()}
    print_rows(["rank", "seed", "run", "state"], [[*key, run.name, str(states[key])] for key, run in runs.items()])
    last = {"artifact": artifact["name"], "suite": suite["name"], "model": slot.ours["model"],
            "task": slot.ours["task"], "runs": {run.name: str(states[key]) for key, run in runs.items()},
            "missing": _named(runs, states, MISSING, NO_ADAPTER), "failed": _named(runs, states, FAILED, UNREADABLE),
            "collapsed": _named(runs, states, COLLAPSED)}
    adapters, problems = adapters_of(store, runs, states)
    if not question.ready(list(adapters)):
        log.warning("%s: too few adapters are there to draw anything", artifact["name"])
        return last | {"problems": list(map(str, problems)), "files": []}
    subject = Subject(artifact["name"], artifact["title"], slot.ours["model"], slot.ours["task"], adapters, printed,
                      [*stand_ins([slot]), *_noted(artifact["note"])])
    return last | published(question.answer(subject), problems, cfg, store.root)


def runs_of(artifact: Data, suite: Data, keys: Sequence[Key], store: str, compose_train: Compose) -> tuple[Slot, Runs]:
    """The runs by rank and seed, and what they stand for.

    ValueError where the suite has no model or task for them, or a role is studied that they do not train;
    FileNotFoundError where the model's files are not there.
    """
    config = artifact["run"]
    for role in artifact["study"]["roles"]:
        check_choice(f"role of {artifact['name']} that its runs train", role, config["method.targets"])
    columns = {f"r{rank}": {"method.rank": rank} for rank, _ in keys}
    seeds = sorted({seed for _, seed in keys})
    ranks = {"run": config, "columns": columns, "words": {}, "shows": "score", "params": None}
    slots, unavailable = plan(ranks, suite, [{}], seeds, store, compose_train)
    for model, why in unavailable.items():
        raise FileNotFoundError(f"{artifact['name']} of suite {suite['name']} needs {model}, which is not there: {why}")
    if not slots:
        words = ", ".join(f"{what} {config[what]}" for what in ("model", "task", "method"))
        raise ValueError(f"suite {suite['name']} has nothing for {artifact['name']}: {words}")
    by_column = {slot.column: slot for slot in slots}
    return slots[0], {(rank, seed): run for rank, seed in keys
                      for run in by_column[f"r{rank}"].runs if run.seed == seed}


def state(store: Store, record: RunRecord | None, problem: str) -> State:
    """How far a run is; `problem`: why it failed or cannot be read, '' for neither."""
    if problem:
        return State(UNREADABLE if problem.startswith(f"{UNREADABLE}: ") else FAILED,
                     problem.removeprefix(f"{UNREADABLE}: "))
    if record is None:
        return State(MISSING, "")
    if record.status == "collapsed":
        return State(COLLAPSED, "constant predictions or a loss that is not finite")
    return State(THERE if store.has_adapter(record) else NO_ADAPTER, "")


def asked_for(cfg: DictConfig, slot: Slot, runs: Runs) -> list[str]:
    """The names of the runs within the filters of the command line."""
    if any(cfg[f"{group}s"] is not None and slot.ours[group] not in cfg[f"{group}s"]
           for group in ("model", "task", "method")):
        return []
    return [run.name for run in runs.values() if cfg.seeds is None or run.seed in cfg.seeds]


def adapters_of(store: Store, runs: Runs,
                states: Mapping[Key, State]) -> tuple[dict[Key, AdapterUpdates], list[Problem]]:
    """The adapters that are there, and a problem for each run without one."""
    adapters, problems = {}, []
    for key, run in runs.items():
        if states[key].word != THERE:
            problems.append(Problem(run.name, f"is left out: {states[key]}"))
            continue
        try:
            adapters[key] = read_updates(locate(store.root / run.name), source=store.root / run.name)
        except (ValueError, OSError) as error:
            problems.append(Problem(run.name, f"is left out: {error}"))
    return adapters, problems


def published(answer: Answer, problems: Sequence[Problem], cfg: DictConfig, root: Path) -> dict[str, Any]:
    """Print, write and log; returns what the last line says of it."""
    study = replace(answer.study, problems=[*problems, *answer.study.problems])
    name = cfg.artifact.name
    also = {} if answer.table is None else {name: tidy(answer.table)}
    record = publish_study(study, root / "figures", cfg.logger, run_config(cfg), also, cfg.caption)
    if answer.table is not None:
        table = replace(answer.table, notes=[*answer.table.notes, *(f"problem: {each}" for each in problems)])
        show(table)
        record["files"] += [str(file) for file in save(table, root / "tables", name)]
    return record


def _named(runs: Runs, states: Mapping[Key, State], *words: str) -> list[str]:
    return [run.name for key, run in runs.items() if states[key].word in words]


def _noted(note: str | None) -> list[str]:
    return [] if note is None else [note]
