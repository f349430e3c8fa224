"""The method library of lora-lab: low-rank layers, adaptation methods, adapter files and counts.

Names are imported when they are first used, so that reading a config does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lora.adapter_file import load_adapter, read_adapter, save_adapter
    from lora.bank import activate, adapters, delete, disable, disabled, enable, merge, merged, unmerge
    from lora.layer import AdaptedDense, LowRank, Part, adapted_layers
    from lora.methods import (
        AdapterD,
        AdapterH,
        AdapterL,
        AdapterP,
        BitFit,
        FullFineTuning,
        LoRA,
        Method,
        ParameterGroup,
        TopBlocks,
    )
    from lora.routing import route

_HOMES = {
    "lora.adapter_file": ("load_adapter", "read_adapter", "save_adapter"),
    "lora.bank": ("activate", "adapters", "delete", "disable", "disabled", "enable", "merge", "merged", "unmerge"),
    "lora.layer": ("AdaptedDense", "LowRank", "Part", "adapted_layers"),
    "lora.methods": ("AdapterD", "AdapterH", "AdapterL", "AdapterP", "BitFit", "FullFineTuning", "LoRA", "Method",
                     "ParameterGroup", "TopBlocks"),
    "lora.routing": ("route",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
__all__ = ["AdaptedDense", "AdapterD", "AdapterH", "AdapterL", "AdapterP", "BitFit", "FullFineTuning", "LoRA",
           "LowRank", "Method", "ParameterGroup", "Part", "TopBlocks", "activate", "adapted_layers", "adapters",
           "delete", "disable", "disabled", "enable", "load_adapter", "merge", "merged", "read_adapter", "route",
           "save_adapter", "unmerge"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lora' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
