"""tests.experiments.artifacts.made"""

from pathlib import Path

from hydra import compose, initialize_config_dir

from experiments.artifacts.kinds import scores
from experiments.store.paths import CONF
from experiments.store.store import RunRecord


def configured(store: Path, *overrides: str):
    with initialize_config_dir(str(CONF), version_base=None):
        suite = [] if any(line.startswith("suite=") for line in overrides) else ["suite=minilm"]
        return compose("paper", [f"store='{store}'", "logger.wandb.mode=disabled", *suite, *overrides])


def record(run: str, score: float | None = 80.0, status: str = "done", **others) -> RunRecord:
    return RunRecord(run=run, identity="0" * 64, status=status, config={}, seed=0, score=score,
                     trainable=36864, metrics={"accuracy": 1.0}, **others)


def no_training(runs, jobs):
    raise AssertionError(f"nothing is to be trained, not {runs}")


def read_only(store, fake, *overrides):
    return scores.report(configured(store, "train=false", *overrides), fake, no_training)
