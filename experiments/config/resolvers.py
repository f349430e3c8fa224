"""Resolvers of the configuration files: `${preset:...}`, `${model_name:...}`, `${if_pinned:...}`."""

import os
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from experiments.config import presets


def model_name(default: str, *, _parent_: DictConfig) -> str:
    """The name given in the file, or for a path that is not the pinned one its last part (a resolver)."""
    return default if _parent_.path == _parent_.pinned else Path(_parent_.path).name


def if_pinned(value: str, *, _parent_: DictConfig) -> str | None:
    """`value`, which describes the pinned path; null for another path (a resolver)."""
    return value if _parent_.path == _parent_.pinned else None


OmegaConf.register_new_resolver("model_name", model_name, replace=True)
OmegaConf.register_new_resolver("if_pinned", if_pinned, replace=True)
OmegaConf.register_new_resolver("preset", presets.resolve, replace=True)
# Two sweeps that start in one second need two folders; the workers of one share its cached number.
OmegaConf.register_new_resolver("process_id", os.getpid, use_cache=True, replace=True)
