"""The values that conf/trainer may have, checked before torch is imported."""

from collections.abc import Callable
from functools import partial
from typing import Any

from omegaconf import DictConfig

from experiments.training.hardware import DEVICES, PRECISIONS
from lora.errors import check_choice, check_number, check_whole

CHOICES = {"schedule": ("linear", "constant"), "frozen": ("fp32", "bf16", "8bit", "4bit"), "device": DEVICES,
           "precision": PRECISIONS}
LIMITS: list[tuple[tuple[str, ...], Callable[[str, Any], None]]] = [  # keys, and the check of their values
    (("epochs", "batch_size", "device_batch_size", "evaluation_batch_size", "max_length", "log_every"),
     partial(check_whole, least=1)),
    (("warmup_steps",), partial(check_whole, least=0)),
    (("learning_rate", "gradient_clip"), partial(check_number, above=0)),
    (("weight_decay",), partial(check_number, least=0)),
    (("warmup_ratio", "label_smoothing"), partial(check_number, least=0, most=1))]
MAY_BE_NULL = ("device_batch_size", "gradient_clip", "warmup_ratio", "warmup_steps")


def check_trainer(cfg: DictConfig) -> None:
    """Raise ValueError for a setting that cannot be trained with on any device."""
    for key, allowed in CHOICES.items():
        check_choice(f"trainer.{key}", cfg[key], allowed)
    for keys, check in LIMITS:
        for key in keys:
            if not (cfg[key] is None and key in MAY_BE_NULL):
                check(f"trainer.{key}", cfg[key])
    if cfg.warmup_steps is None and cfg.warmup_ratio is None:
        raise ValueError("trainer.warmup_steps and trainer.warmup_ratio are both null: give one, 0 for no warm-up")
