"""Shared by PEFT's and loralib's files, which name modules where our methods name targets."""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lora.methods import LoRA
from lora.sites import ROLES, Site, find_sites, poolers

PLAIN_LORA = {"dropout": 0.0, "init": "kaiming", "rank_stabilised": False, "dora": False,
              "learning_rate_scale_B": None, "bias": "none", "layernorm": False, "position_query": True}

# prefixes of torch.compile, FSDP and activation checkpointing; DistributedDataParallel's stands at the start only
_WRAPPERS = re.compile(r"(?<![^.])(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")


@dataclass(frozen=True)
class Size:
    """Rank and alpha of one update."""

    rank: int
    alpha: float


def name_targets(model: nn.Module, sizes: Mapping[str, Size]) -> dict[str, list[Site]]:
    """Targets that name exactly the modules in `sizes`, whole: roles if possible, else globs, else modules.

    All sites of one target have one size. ValueError for a module that the model lacks.
    """
    rest, targets = dict(sizes), {}
    stars = [re.sub(r"\b\d+\b", "*", module) for module in sizes]
    for target in dict.fromkeys((*ROLES, *stars, *sizes)):
        with contextlib.suppress(ValueError):  # the model lacks the role, or the module: it stays in `rest`
            sites = find_sites(model, [target])
            whole = all(site.part.parts == 1 and site.module in rest for site in sites)
            if whole and len({rest[site.module] for site in sites}) == 1:
                targets[target] = sites
                for site in sites:
                    del rest[site.module]
    if rest:
        raise ValueError("the file updates modules that are no dense maps of this model: "
                         f"{', '.join(list(rest)[:3])}")
    return targets


def lora_method(sizes: Mapping[str, Size], **options: object) -> LoRA:
    """LoRA with one size a target, other fields as PLAIN_LORA unless given."""
    ranks = {target: size.rank for target, size in sizes.items()}
    alphas = {target: size.alpha for target, size in sizes.items()}
    fields = {**PLAIN_LORA, "rank": _one_or_all(ranks), "alpha": _one_or_all(alphas), **options}
    return LoRA(name="lora", targets=list(sizes), **fields)  # type: ignore[arg-type]


def _one_or_all(values: dict[str, Any]) -> Any:
    return next(iter(values.values())) if len(set(values.values())) == 1 else values


def pooler_of(model: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    """The `pooler` of a file: "frozen" if the model has one and the file no weight for it, else "train"."""
    places = poolers(model)
    return "frozen" if places and not any(f"{place}.weight" in tensors for place in places) else "train"


def unwrapped(key: str) -> str:
    """A tensor's name without the prefixes of modules that wrap others for training."""
    return re.sub(r"^(?:module\.)+", "", _WRAPPERS.sub("", key))
