"""tests.experiments.sweeps.made"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from experiments.runs.identity import Run
from experiments.store.paths import CONF
from experiments.store.store import RunRecord, Store
from experiments.sweeps import rates

METRICS = {"cola-nano": "matthews", "rte-nano": "accuracy", "mrpc-nano": "accuracy", "sst2-nano": "accuracy",
           "e2e-nano": "loss", "webnlg-nano": "loss"}
SMALL = ["tasks=[cola-nano,rte-nano]", "~rates.bitfit", "rates.ft=[1e-4,2e-4,4e-4]", "rates.lora=[1e-3,2e-3,5e-3]",
         "ranks=[1,8]"]
FT = ["~rates.lora", *SMALL[:3]]


def configured(store: Path, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base=None):
        return compose("tune", [f"store='{store}'", *overrides])


def composed(overrides: list[str]) -> DictConfig:
    """In place of conf/train.yaml: what of it the sweep looks at, of the tasks above."""
    words = dict(line.split("=", 1) for line in overrides)
    task, method = words.get("task", "mrpc-nano"), words.get("method", "lora")
    rank = {"rank": int(words.get("method.rank", 8))} if method == "lora" else {}
    own = {"name": task, "main_metric": METRICS[task], "evaluate_on": "validation",
           "source": {"rows": {"train": 9, "development": 9}}}
    return OmegaConf.create({"seed": 0, "task": own, "method": {"name": method, **rank},
                             "trainer": {"learning_rate": None}})


def fake_name(cfg: DictConfig) -> str:
    """A run's name that says what it is of: rte-nano-lora8-0.001."""
    return f"{cfg.task.name}-{cfg.method.name}{cfg.method.get('rank', '')}-{cfg.trainer.learning_rate:g}"


def fake_run(cfg: DictConfig, overrides: Iterable[str]) -> Run:
    """A planned run of that name."""
    return Run(fake_name(cfg), cfg.seed, tuple(overrides))


def keep(store: Path, run: str, outcome: float | str, identity: str = "") -> None:
    """A record of a run: done with a score, or of another status."""
    status, score = (outcome, 50.0) if isinstance(outcome, str) else ("done", outcome)
    Store(store).write(RunRecord(run=run, identity=identity, status=status, config={}, seed=0, score=score))


def keep_all(store: Path, method: str, outcomes: dict[str, list[Any]], tasks: list[str]) -> None:
    """By rate what each task's run gave; None: it was not made."""
    for rate, values in outcomes.items():
        for task, value in zip(tasks, values, strict=True):
            if value is not None:
                keep(store, f"{task}-{method}-{rate}", value)


def no_training(runs: list[Run], jobs: int) -> list[tuple[str, str]]:
    raise AssertionError(f"nothing is to be trained, not {runs}")


def read_only(store: Path, *overrides: str) -> dict[str, Any]:
    return rates.report(configured(store, "train=false", *overrides), ["model=roberta-nano"], composed, no_training)
