"""Pre-train a nano model on the micro-world, check a shipped one, or measure how far words alone solve its tasks."""

from typing import Any

from omegaconf import DictConfig

from experiments.config.entry import entry


@entry("pretrain", examples=[
    "python -m experiments.pretrain model=roberta-nano",
    "python -m experiments.pretrain -m model=roberta-nano,gpt2-nano hydra/launcher=joblib hydra.launcher.n_jobs=-1",
    "python -m experiments.pretrain model=roberta-nano check=true",
    "python -m experiments.pretrain check=surface tasks=[rte,mnli] world.seed=2",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Pre-train a nano model on the micro-world.

    check=true measures the shipped model instead, check=surface what a classifier of words scores on the miniatures.
    """
    from experiments.pretraining.config import SURFACE, check_config

    check_config(cfg)
    if cfg.check == SURFACE:
        from experiments.pretraining.surface import word_scores

        return word_scores(cfg)
    from experiments.pretraining.check import check_shipped
    from experiments.pretraining.train import run, world_source

    source = world_source(cfg.world, cfg.curriculum)
    return check_shipped(cfg, source) if cfg.check else run(cfg, source).summary()


if __name__ == "__main__":
    main()
