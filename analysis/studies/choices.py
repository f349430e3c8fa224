"""Check and read the choices that the commands of this package share: sites, layers, level, samples."""

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, ListConfig

from experiments.store.logger import check_logger

ALL = "all"


def check_choices(cfg: DictConfig, required: Sequence[str]) -> None:
    """ValueError for what is not given, and for sites, layers, level or samples that cannot be."""
    check_logger(cfg.logger)
    for key in required:
        if cfg[key] is None:
            raise ValueError(f"{key} is not given: {key}=<run, folder or loralib file>")
    if not 0 < cfg.get("level", 0.5) < 1:
        raise ValueError(f"level {cfg.level} is not between 0 and 1")
    if cfg.get("samples", 1) < 1:
        raise ValueError(f"samples {cfg.samples} is not at least 1")


def chosen_sites(cfg: DictConfig) -> list[str] | None:
    """The roles that `sites` names, or None for all."""
    return None if cfg.sites in (None, ALL) else [str(site) for site in _several(cfg.sites)]


def chosen_layers(cfg: DictConfig) -> list[int] | None:
    """The numbers that `layers` names, or None for all."""
    if cfg.layers in (None, ALL):
        return None
    layers = _several(cfg.layers)
    if not layers or any(not isinstance(layer, int) or isinstance(layer, bool) for layer in layers):
        raise ValueError(f"layers {cfg.layers!r} is neither {ALL} nor numbers, as [0,5,11]")
    return layers


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, ListConfig | list) else [value]
