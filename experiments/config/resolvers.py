"""Resolvers of the configuration files: `preset`, `model_name`, `if_pinned`, `environment`, `process_id`."""

import os
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.config import presets


def model_name(default: str, *, _parent_: DictConfig) -> str:
    """The name given in the file, or for a path that is not the pinned one its last part (a resolver)."""
    return default if _parent_.path == _parent_.pinned else Path(_parent_.path).name


def if_pinned(value: Any, other: Any = None, *, _parent_: DictConfig) -> Any:
    """`value`, which describes the pinned path, or for another path `other` (a resolver)."""
    return value if _parent_.path == _parent_.pinned else other


def environment(name: str, default: Any) -> Any:
    """An environment variable, or `default` where it is not set or empty (a resolver)."""
    return os.environ.get(name) or default


OmegaConf.register_new_resolver("model_name", model_name, replace=True)
OmegaConf.register_new_resolver("if_pinned", if_pinned, replace=True)
OmegaConf.register_new_resolver("environment", environment, replace=True)
OmegaConf.register_new_resolver("preset", presets.resolve, replace=True)
# Two sweeps that start in one second need two folders; the workers of one share its cached number.
OmegaConf.register_new_resolver("process_id", os.getpid, use_cache=True, replace=True)
