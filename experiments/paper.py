"""Tables and figures of the paper with ours beside theirs: train what is missing, read the store, print and save.

A cell and a seed are one run of conf/train.yaml (experiments.artifacts.plan), found in the store by its name or
trained in a process apart (experiments.sweeps.workers).
"""

from importlib import import_module
from typing import Any

from omegaconf import DictConfig

from experiments.config.entry import entry

KINDS = {  # the kind of an artifact -> the module whose `report` makes it; each is imported when it is asked for
    "scores": "experiments.artifacts.kinds.scores",
    "sizes": "experiments.artifacts.kinds.sizes",
    "counts": "experiments.artifacts.kinds.counts",
    "costs": "experiments.artifacts.kinds.costs",
    "latency": "experiments.artifacts.kinds.latency",
    "study": "experiments.artifacts.studies.runs",
}


@entry("paper", examples=[
    "python -m experiments.paper artifact=table2 suite=minilm",
    "python -m experiments.paper artifact=table6 suite=minilm train=false",
    "python -m experiments.paper artifact=figure3 suite=nano",
    "python -m experiments.paper artifact=table2 suite=nano models=[roberta-nano] store=results/local empty=false",
    "python -m experiments.paper artifact=figure2 suite=nano methods=[ft,bitfit,lora,adapter_h] seeds=[0]",
    "python -m experiments.paper artifact=counts",
    "python -m experiments.paper artifact=table1",
    "python -m experiments.paper artifact=costs",
    "python -m experiments.paper artifact=table2 suite=paper tasks=[mrpc,rte] seeds=[0] jobs=2",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Run what is missing for a table or a figure of the paper, print it beside the paper's numbers, save it."""
    from experiments.config.compose import train_configs
    from experiments.store.logger import check_logger
    from experiments.sweeps.workers import train_apart
    from lora.errors import check_choice

    check_logger(cfg.logger)
    check_choice("kind", str(cfg.artifact.get("kind")), KINDS)
    with train_configs() as compose_train:
        report = import_module(KINDS[cfg.artifact.kind]).report
        return report(cfg, compose_train, train_apart)


if __name__ == "__main__":
    main()
