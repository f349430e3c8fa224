"""Checks of the settings of a pre-training, before anything is made."""

import importlib
import inspect
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.config.search_path import config_files
from experiments.models.architectures import attentions_of
from lora.errors import check_choice, is_number

SURFACE = "surface"  # the check that measures what words alone score


def check_config(cfg: DictConfig) -> None:
    """Raise ValueError for settings that do not go together, before anything is made.

    Types and ranges of single keys are those of experiments.config.keys.
    """
    if not cfg.model.config or cfg.tokens is None:
        nano = ", ".join(name for name, path in sorted(config_files("model").items())
                         if "pretraining" in OmegaConf.load(path))
        raise ValueError(f"model {cfg.model.name!r} is no nano model: its file in conf/model has no shape and settings "
                         f"(config and pretraining) to pre-train with; these have: {nano}")
    if cfg.attention not in ("auto", *attentions_of(cfg.model.config.model_type)):
        raise ValueError("attention=sdpa: transformers' DeBERTa has eager attention only")
    positions = cfg.model.config.get("max_position_embeddings", cfg.model.config.get("n_positions"))
    positions -= 2 if cfg.model.config.model_type == "roberta" else 0  # which counts from 2
    if cfg.max_length > positions:
        raise ValueError(f"max_length {cfg.max_length} is more than the {positions} positions of {cfg.model.name}")
    for function in cfg.gates:
        check_gates(function)


def check_gates(function: str) -> None:
    """Raise ValueError unless `function` is the dotted name of a function that returns a list of gates."""
    module = function.rpartition(".")[0]
    try:
        namespace = vars(importlib.import_module(module))
    except (ImportError, ValueError):
        raise ValueError(f"gates: there is no module {module!r} of {function!r}; the functions of "
                         "experiments.pretraining.gates are experiments.pretraining.gates.understanding and "
                         "experiments.pretraining.gates.generation") from None
    names = [name for name, value in namespace.items()
             if inspect.isfunction(value) and str(value.__annotations__.get("return")).endswith("Gate]")]
    check_choice("gates", function, [f"{module}.{name}" for name in names])


def check_stages(shares: Any, stages: int) -> None:
    """Raise ValueError unless `shares` are increasing shares of the budget, one for each stage but the first."""
    starts: list[Any] = list(shares) if OmegaConf.is_list(shares) or isinstance(shares, list) else [None]
    valid = all(is_number(start) and 0 <= start <= 1 for start in starts) and starts == sorted(starts)
    if not valid or len(starts) != stages - 1:
        raise ValueError(f"stages {shares} is not a list of {stages - 1} shares of the budget in 0..1, in order: the "
                         f"corpus has {stages} stages, and the first begins at 0")
