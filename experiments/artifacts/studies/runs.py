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
from experiments.artifacts.artifact import Artifact, read_artifact, read_rows
from experiments.artifacts.collect import is_asked_for
from experiments.artifacts.plan import GROUPS, Grid, PlannedCell, plan, stand_ins
from experiments.artifacts.studies.question import Answer, Key, Question, Subject
from experiments.artifacts.suite import Suite, read_suite
from experiments.config.compose import ManyConfigs, run_config
from experiments.runs.identity import Run
from experiments.store.locate import locate
from experiments.store.store import RunRecord, Store
from experiments.sweeps.ensure import UNREADABLE_PREFIX, ensure
from experiments.sweeps.workers import Train
from experiments.tables.publish import publish
from experiments.tables.publish_study import publish_study
from experiments.tables.table import sheet_of, tidy
from experiments.tables.text import print_rows
from lora.errors import check_choice

THERE, MISSING, NO_ADAPTER, COLLAPSED, FAILED, UNREADABLE = (
    "there", "not trained", "trained, its adapter is not here", "collapsed", "failed", "unreadable")
Runs = Mapping[Key, Run]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StudyArtifact(Artifact):
    """A study of adapters, and the runs that trained them; of a table, the paper's numbers."""

    run: dict[str, Any]      # config key -> value, of every run
    study: Any               # a dataclass with the methods of Question, by `_target_`
    paper: str | None = None  # a CSV in conf/paper, where the artifact is a table
    note: str | None = None

    def grid(self, keys: Sequence[Key]) -> Grid:
        """Its runs: a column for each rank."""
        return Grid(self.run, {f"r{rank}": {"method.rank": rank} for rank, _ in keys})


@dataclass(frozen=True)
class State:
    """How far a run is: one of the words above, and why."""

    word: str
    why: str

    def __str__(self) -> str:
        return f"{self.word}: {self.why}" if self.why else self.word


def report(cfg: DictConfig, compose_train: ManyConfigs, train: Train) -> dict[str, Any]:
    """Plan the runs, train those that are missing, study what is there; returns the last line."""
    artifact, suite = read_artifact(StudyArtifact, cfg), read_suite(cfg, cfg.artifact.name)
    suite.check_filters(cfg)
    question: Question = instantiate(artifact.study, _convert_="all")
    printed = [] if artifact.paper is None else read_rows(artifact.paper)
    planned, runs = runs_of(artifact, suite, question.runs(), cfg.store, compose_train)
    store, asked = Store(cfg.store), asked_for(cfg, planned, runs)
    records, problems = ensure(list(runs.values()), store, cfg.jobs, train if cfg.train else None, asked, adapters=True)
    states = {key: state(store, records.get(run.name), problems.get(run.name, "")) for key, run in runs.items()}
    print_rows(["rank", "seed", "run", "state"], [[*key, run.name, str(states[key])] for key, run in runs.items()])
    last = {"artifact": artifact.name, "suite": suite.name, "model": planned.ours["model"],
            "task": planned.ours["task"], "runs": {run.name: str(states[key]) for key, run in runs.items()},
            "missing": _named(runs, states, MISSING, NO_ADAPTER), "failed": _named(runs, states, FAILED, UNREADABLE),
            "collapsed": _named(runs, states, COLLAPSED)}
    adapters, unread = adapters_of(store, runs, states)
    if not question.ready(list(adapters)):
        log.warning("%s: too few adapters are there to draw anything", artifact.name)
        return last | {"problems": list(map(str, unread)), "files": []}
    subject = Subject(artifact.name, artifact.title, planned.ours["model"], planned.ours["task"], adapters, printed,
                      [*stand_ins([planned]), *([] if artifact.note is None else [artifact.note])])
    return last | published(question.answer(subject), unread, cfg, store.root)


def runs_of(artifact: StudyArtifact, suite: Suite, keys: Sequence[Key], store: str,
            compose_train: ManyConfigs) -> tuple[PlannedCell, Runs]:
    """The runs by rank and seed, and what they stand for.

    ValueError where the suite has no model or task for them, or a role is studied that they do not train;
    FileNotFoundError where the model's files are not there.
    """
    for role in artifact.study["roles"]:
        check_choice(f"role of {artifact.name} that its runs train", role, artifact.run["method.targets"])
    seeds = sorted({seed for _, seed in keys})
    cells, unavailable = plan(artifact.grid(keys), suite, [{}], seeds, store, compose_train)
    for model, why in unavailable.items():
        raise FileNotFoundError(f"{artifact.name} of suite {suite.name} needs {model}, which is not there: {why}")
    if not cells:
        words = ", ".join(f"{group} {artifact.run[group]}" for group in GROUPS)
        raise ValueError(f"suite {suite.name} has nothing for {artifact.name}: {words}")
    by_column = {cell.column: cell for cell in cells}
    return cells[0], {(rank, seed): run for rank, seed in keys
                      for run in by_column[f"r{rank}"].runs if run.seed == seed}


def state(store: Store, record: RunRecord | None, problem: str) -> State:
    """How far a run is; `problem`: why it failed or cannot be read, '' for neither."""
    if problem:
        word = UNREADABLE if problem.startswith(UNREADABLE_PREFIX) else FAILED
        return State(word, problem.removeprefix(UNREADABLE_PREFIX))
    if record is None:
        return State(MISSING, "")
    if record.status == "collapsed":
        return State(COLLAPSED, "constant predictions or a loss that is not finite")
    return State(THERE if store.has_adapter(record) else NO_ADAPTER, "")


def asked_for(cfg: DictConfig, planned: PlannedCell, runs: Runs) -> list[str]:
    """The names of the runs within the filters of the command line."""
    if not is_asked_for(cfg, planned.ours):
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


def published(answer: Answer, unread: Sequence[Problem], cfg: DictConfig, root: Path) -> dict[str, Any]:
    """Publish the study, and the table where there is one; returns what the last line says of it."""
    study = replace(answer.study, problems=[*unread, *answer.study.problems])
    also = {} if answer.table is None else {cfg.artifact.name: tidy(answer.table)}
    record = publish_study(study, root / "figures", cfg.logger, run_config(cfg), also, cfg.caption)
    if answer.table is not None:
        table = replace(answer.table, notes=[*answer.table.notes, *(f"problem: {problem}" for problem in unread)])
        files = publish(sheet_of(table, cfg.artifact.name), root / "tables", ("md", "csv", "tex"))
        record["files"] += [str(file) for file in files]
    return record


def _named(runs: Runs, states: Mapping[Key, State], *words: str) -> list[str]:
    return [run.name for key, run in runs.items() if states[key].word in words]
