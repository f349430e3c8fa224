"""Pre-train a nano model on the micro-world, or check the one that is shipped.

    <output>/<model>/        the finished model (experiments.pretraining.folder)
    <output>/checkpoints/    states of pre-trainings in progress, one a config and corpus
    <output>/locks/          so that two processes never compute one model at once

What can change the weights is the config without the keys of NOT_RUN, and the corpus; a finished model of the same
config and corpus is not trained again, and one of another config is replaced with overwrite=true only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from experiments.config.entry import entry
from experiments.pretraining.config import check_config
from experiments.pretraining.train import run, world_source

if TYPE_CHECKING:
    pass

@entry("pretrain", examples=[
    "python -m experiments.pretrain model=roberta-nano",
    "python -m experiments.pretrain -m model=roberta-nano,gpt2-nano hydra/launcher=joblib hydra.launcher.n_jobs=-1",
    "python -m experiments.pretrain model=roberta-nano check=true",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Pre-train a nano model on the micro-world, or with check=true measure the shipped one."""
    check_config(cfg)
    source = world_source(cfg.world, cfg.curriculum)
    if not cfg.check:
        return run(cfg, source).summary()
    from experiments.pretraining.check import check_shipped

    return check_shipped(cfg, source)


if __name__ == "__main__":
    main()
