"""Gates: how much fine-tuning must gain from a nano model's pre-training before the model ships, task by task.

Full fine-tuning and LoRA (r = 8) are run from the shipped weights and from random ones, on the validation split, with
one seed, one process a core. A rate that suits the shipped weights may not suit random ones: these are trained at each
of RATES, and the best counts, by the very rows that are reported. A gate about tasks counts those where the gain is
large enough; one whose run failed is NaN, which never passes. The records are kept in results/nano/gates if the model
is the pinned one and the world that of conf/world/default.yaml, else in <output>/gates.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from experiments.config.compose import quoted, train_configs
from experiments.runs.identity import planned_run
from experiments.store.paths import CONF
from experiments.store.store import RunRecord, Store
from experiments.sweeps.ensure import ensure
from experiments.sweeps.workers import train_apart
from experiments.tasks.world.surface import bag_of_words, overlap

GLUE = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte")
TEXTS = ("e2e", "webnlg", "samsum")
MORE_TEXTS = ("dart", "wikisql")  # whose runs are timed as well
STORE = CONF.parent / "results" / "nano" / "gates"
ENOUGH = 6                        # of the eight tasks
GAIN = {"ft": 10, "lora": 15}     # points over the same from random weights
RATES = {"ft": ("1e-4", "3e-4", "1e-3"), "lora": ("1e-3", "3e-3", "1e-2")}  # from random weights
NEVER_SOLVED = 99                 # points
LESS_LOSS = 0.8                   # of the loss from random weights, on target tokens
SECONDS = 40                      # that a run may take on one core, imports left out


@dataclass(frozen=True)
class Gate:
    """A condition for shipping a model: `value` lies in least..most, limits included unless `strict`."""

    name: str
    value: float
    least: float | None = None
    most: float | None = None
    strict: bool = False

    @property
    def passed(self) -> bool:
        """True where the condition holds; NaN, a value that could not be measured, never passes."""
        if math.isnan(self.value) or (self.strict and self.value in (self.least, self.most)):
            return False
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)

    @property
    def limits(self) -> str:
        """The limits as `> 50, < 99`; '-' without any."""
        equal = "" if self.strict else "="
        signs = ((">", self.least), ("<", self.most))
        return ", ".join(f"{sign}{equal} {limit:.3g}" for sign, limit in signs if limit is not None) or "-"


class Key(NamedTuple):
    """Task, method and learning rate of a run; the rate is None, the preset's, from the shipped weights."""

    task: str
    method: str
    rate: str | None


def understanding(cfg: DictConfig) -> list[Gate]:
    """The eight GLUE-like tasks: each score, that of words alone, and in how many tasks pre-training gains enough."""
    runs = finished(cfg, GLUE, ("ft", "lora"))
    gates, gained = [], {method: 0 for method in GAIN}
    for task in GLUE:
        miniature = instantiate(composed(cfg, task).task)
        gates.append(Gate(f"{task}: bag of words", bag_of_words(miniature)[miniature.main_metric]))
        if len(miniature.text) == 2:
            gates.append(Gate(f"{task}: word overlap", overlap(miniature)[miniature.main_metric]))
        for method, gain in GAIN.items():
            shipped, random, collapsed = scores(runs, task, method, max)
            gained[method] += shipped - random >= gain
            least, most = (chance(miniature), NEVER_SOLVED) if method == "ft" else (None, None)
            gates.append(Gate(f"{task}: {method}", shipped, least, most, strict=True))
            gates.append(Gate(f"{task}: {method} from random weights{collapsed}", random))
    for method, gain in GAIN.items():
        gates.append(Gate(f"tasks where {method} gains {gain} points", gained[method], ENOUGH))
    return [*gates, slowest(runs)]


def generation(cfg: DictConfig) -> list[Gate]:
    """The loss on target tokens beside that from random weights at the same number of steps."""
    tasks = (*TEXTS, *MORE_TEXTS)
    runs = finished(cfg, tasks, ("ft",))
    gates = []
    for task in tasks:
        shipped, random, collapsed = scores(runs, task, "ft", min)
        gates += [Gate(f"{task}: loss", shipped), Gate(f"{task}: loss from random weights{collapsed}", random),
                  Gate(f"{task}: ratio", shipped / random, None, LESS_LOSS if task in TEXTS else None)]
    return [*gates, slowest(runs)]


def finished(cfg: DictConfig, tasks: tuple[str, ...], methods: tuple[str, ...]) -> dict[Key, RunRecord]:
    """Records of the runs, trained where they are missing; without those of runs that failed."""
    store, planned = Store(store_folder(cfg)), {}
    keys = [Key(task, method, rate) for task in tasks for method in methods for rate in (None, *RATES[method])]
    with train_configs() as compose:
        for key in keys:
            overrides = [*_overrides(cfg, key), f"store={quoted(store.root)}"]
            planned[key] = planned_run(compose(overrides), overrides)
    records, _ = ensure(list(planned.values()), store, -1, train_apart)
    return {key: records[run.name] for key, run in planned.items() if run.name in records}


def scores(runs: dict[Key, RunRecord], task: str, method: str, best: Callable[..., Any]) -> tuple[float, float, str]:
    """The score from the shipped weights, the best one from random weights, and a remark where the latter collapsed.

    A score is NaN where runs failed or have none; a collapsed run predicts one class only.
    """
    scored = {key: (run.score, run.status) for key, run in runs.items()
             if (key.task, key.method) == (task, method) and run.score is not None}
    shipped = scored.pop(Key(task, method, None), (math.nan, ""))[0]
    random, status = best(scored.values(), default=(math.nan, ""), key=itemgetter(0))
    return shipped, random, " (collapsed)" if status == "collapsed" else ""


def store_folder(cfg: DictConfig) -> Path:
    """The store of the runs: STORE for a shipped model and the default world, else a folder below `output`."""
    shipped = cfg.model.path == cfg.model.pinned and cfg.world == OmegaConf.load(CONF / "world" / "default.yaml")
    if not shipped:
        return Path(cfg.output) / "gates"
    return STORE.relative_to(Path.cwd()) if STORE.is_relative_to(Path.cwd()) else STORE  # records hold this path


def _overrides(cfg: DictConfig, key: Key) -> list[str]:
    init, rate = ("pretrained", []) if key.rate is None else ("random", [f"trainer.learning_rate={key.rate}"])
    dropout = [] if cfg.model.path == cfg.model.pinned else ["model.dropout=0.0"]  # the pinned model's own
    return [*dropout, *_model(cfg), f"model.init={init}", *_task(cfg, key.task), f"method={key.method}", "preset=nano",
            *rate, "seed=0", "trainer.threads=1", "trainer.save_adapter=false"]


def _model(cfg: DictConfig) -> list[str]:
    """Overrides that give another process the model that is checked: its file, its changed keys, its path."""
    choice, changes = cfg.model.name, []
    if HydraConfig.initialized():
        hydra = HydraConfig.get()
        choice = hydra.runtime.choices["model"]
        changes = [line for line in hydra.overrides.task if re.match(r"[+~]*model\.(?!path=)", line)]
    if cfg.model.path != cfg.model.pinned:  # resolved: the keys that it interpolates may be unknown there
        changes.append(f"model.path={quoted(cfg.model.path)}")
    return [f"model={choice}", *changes]


def _task(cfg: DictConfig, task: str) -> list[str]:
    """Overrides that choose the miniature of a task, in the world of the config."""
    world = cfg.get("world", {}).items()
    return [f"task={task}-nano", *(f"task.source.world.{key}={value}" for key, value in world if key != "_target_")]


def composed(cfg: DictConfig, task: str) -> DictConfig:
    """The config of a run on the miniature of a task, in the world of `cfg`."""
    with train_configs() as compose:
        return compose(_task(cfg, task))


def chance(task: Any) -> float:
    """Score of predicting the most frequent label of each evaluation set; 0 for a correlation."""
    if task.main_metric != "accuracy":
        return 0.0
    tables = [task.split(split) for split in task.evaluation_splits]
    shares = [np.bincount(table[task.label]).max() / len(table) for table in tables]
    return 100 * float(np.mean(shares))


def slowest(runs: dict[Key, RunRecord]) -> Gate:
    """Seconds of the slowest run: preparation, training and evaluation.

    A process keeps the rows of a task for its next run, so each run counts the longest preparation of its task. NaN
    where a record lacks one of the times.
    """
    preparation: dict[str, list[float]] = {}
    for key, run in runs.items():
        preparation.setdefault(key.task, []).append(_or_nan(run.ready_seconds))
    totals = [_or_nan(run.seconds) + np.max(preparation[key.task]) for key, run in runs.items()]
    return Gate("slowest run, seconds", float(np.max(totals or [math.nan])), None, SECONDS)


def _or_nan(seconds: float | None) -> float:
    return math.nan if seconds is None else seconds
