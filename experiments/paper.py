"""Tables and figures of the paper with ours beside theirs: train what is missing, read the store, print and save.

A cell and a seed are one run of conf/train.yaml (experiments.artifacts.artifact), found in the store by its name or
trained in a process apart (experiments.sweeps.workers).
"""

import logging
from typing import Any

from omegaconf import DictConfig

from experiments.artifacts.kinds import counts
from experiments.artifacts.kinds.scores import report
from experiments.config.compose import Compose, train_configs
from experiments.config.entry import entry
from experiments.store.logger import check_logger
from experiments.sweeps.workers import Train, train_apart
from lora.errors import check_choice

log = logging.getLogger(__name__)


@entry("paper", examples=[
    "python -m experiments.paper artifact=table2 suite=minilm",
    "python -m experiments.paper artifact=table6 suite=minilm train=false",
    "python -m experiments.paper artifact=figure3 suite=nano",
    "python -m experiments.paper artifact=table2 suite=nano models=[roberta-nano] store=results/local empty=false",
    "python -m experiments.paper artifact=figure2 suite=nano methods=[ft,bitfit,lora,adapter_h] seeds=[0]",
    "python -m experiments.paper artifact=counts",
    "python -m experiments.paper artifact=table2 suite=paper tasks=[mrpc,rte] seeds=[0] jobs=2",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Run what is missing for a table or a figure of the paper, print it beside the paper's numbers, save it."""
    check_logger(cfg.logger)
    check_choice("kind", cfg.artifact.kind, KINDS)
    with train_configs() as compose_train:
        return KINDS[cfg.artifact.kind](cfg, compose_train, train_apart)


def study(cfg: DictConfig, compose_train: Compose, train: Train) -> dict[str, Any]:
    """What adapters are made of: experiments.artifacts.studies.runs, whose libraries take a second to import."""
    from experiments.artifacts.studies import runs as studies

    return studies.report(cfg, compose_train, train)


def sizes(cfg: DictConfig, compose_train: Compose, train: Train) -> dict[str, Any]:
    """Scores over numbers of parameters: experiments.artifacts.kinds.sizes, which draws."""
    from experiments.artifacts.kinds import sizes

    return sizes.report(cfg, compose_train, train)


KINDS = {"scores": report, "study": study, "sizes": sizes, "counts": counts.report}  # what an artifact file says it is

if __name__ == "__main__":
    main()
