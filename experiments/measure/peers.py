"""Baselines for the benchmarks: the same LoRA training step written with PEFT and with loralib."""

from importlib import import_module
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from lora import LoRA
from lora.errors import check_choice
from lora.low_rank import Part
from lora.sites import find_sites

# options of conf/method/lora.yaml that the other packages lack, with the value at which all packages do the same
ONLY_OURS = {"bias": "none", "layernorm": False, "position_query": True, "dora": False,
             "learning_rate_scale_B": None}


def package(name: str) -> Any:
    """A package of the test extra; ImportError says how to get it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f"measuring {name} needs the package {name}, of the test extra: pip install -e '.[test]' "
                          "(the benchmark can leave it out of variants=[...])") from error


def whole_modules(model: nn.Module, cfg: DictConfig) -> list[str]:
    """Modules of the sites of `cfg.method`; ValueError for an option that PEFT and loralib lack or handle otherwise."""
    check_choice("method", cfg.method.name, ("lora",))
    method = instantiate(cfg.method)
    assert isinstance(method, LoRA)
    for key, value in ONLY_OURS.items():
        if getattr(method, key) != value:
            raise ValueError(f"method.{key}={getattr(method, key)} is not given to PEFT and loralib: leave it {value}")
    if method.init == "pissa":
        raise ValueError("method.init=pissa is not given to PEFT and loralib: leave it kaiming or gaussian")
    for key in ("rank", "alpha"):
        if not isinstance(getattr(method, key), int | float):
            raise ValueError(f"method.{key} by target is not given to PEFT and loralib: give one number")
    sites = find_sites(model, method.targets)
    if fused := [site.module for site in sites if site.part != Part()]:
        raise ValueError(f"{fused[0]} is a fused projection: PEFT and loralib adapt it in another way than ours")
    return [site.module for site in sites]


def peft_config(model: nn.Module, cfg: DictConfig, **options: Any) -> Any:
    """PEFT's LoraConfig of the adaptation that `cfg.method` describes, with further `options` of LoraConfig."""
    return package("peft").LoraConfig(
        r=cfg.method.rank, lora_alpha=cfg.method.alpha, lora_dropout=cfg.method.dropout,
        use_rslora=cfg.method.rank_stabilised, target_modules=whole_modules(model, cfg), **options)
