"""Studies of the paper on runs of a tiny model: what tests of them share."""

from pathlib import Path

from omegaconf import DictConfig

from experiments.artifacts.studies import runs as studies
from experiments.config.compose import train_configs
from experiments.runs.execute import run
from tests.experiments.made import compose

PAIRS = "[[[2, 0], [9, 1]], [[2, 1], [9, 0]]]"
RUNS = {"figure3": f"pairs={PAIRS}", "figure6": f"pairs={PAIRS}", "figure4": "pairs=[[[9, 0], [9, 1]]]",
        "figure7": "pairs=[[[9, 0], [9, 1]]]", "figure8": "of=[[2, 0], [9, 0], [2, 1], [9, 1]]",
        "table7": "of=[[2, 0], [9, 0], [2, 1], [9, 1]]"}


def configured(name: str, store: Path, given: list[str], *overrides: str) -> DictConfig:
    """conf/paper.yaml for an artifact of runs of the tiny model, few draws, no wandb."""
    runs = "{" + ", ".join(line.replace("=", ": ", 1) for line in given if line.startswith(("model.", "task.", "tr")))
    few = [] if name in ("figure8", "table7") else ["artifact.study.samples=20"]
    cfg = compose(f"artifact={name}", "suite=nano", "suite.models.gpt3=local", "suite.tasks.mnli=classification",
                  f"+artifact.run={runs}}}", f"artifact.study.{RUNS[name]}", f"store={store}",
                  "logger.wandb.mode=disabled", *few, *overrides, config="paper")
    cfg.artifact.run["trainer.epochs"] = 1
    return cfg


def report(cfg: DictConfig, asked: list[str] | None = None) -> dict:
    """What the command ends with; runs are trained here, and their names go to `asked`."""
    with train_configs() as compose_train:
        def train(runs, jobs):
            if asked is not None:
                asked.extend(each.name + " again" * ("overwrite=true" in each.overrides) for each in runs)
            for each in runs:
                run(compose_train(list(each.overrides)))
            return []

        return studies.report(cfg, compose_train, train)
