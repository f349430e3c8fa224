"""The values that conf/trainer may have, checked before torch is imported."""

from omegaconf import DictConfig

from experiments.config.check import check_keys
from experiments.config.compose import plain_dict
from experiments.config.keys import TRAINER


def check_trainer(cfg: DictConfig) -> None:
    """Raise ValueError for a setting that cannot be trained with on any device."""
    check_keys("trainer", plain_dict(cfg), TRAINER)
    if cfg.warmup_steps is None and cfg.warmup_ratio is None:
        raise ValueError("trainer.warmup_steps and trainer.warmup_ratio are both null: give one, 0 for no warm-up")
