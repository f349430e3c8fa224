"""The method library of lora-lab: low-rank layers, adaptation methods, adapter files and counts."""

from lora.bank import activate, adapters, delete, disabled, merge, merged, route, unmerge
from lora.layer import AdaptedDense, LowRank, Part, adapted_layers
from lora.methods import BitFit, FullFineTuning, LoRA, Method, ParameterGroup

__all__ = ["AdaptedDense", "BitFit", "FullFineTuning", "LoRA", "LowRank", "Method", "ParameterGroup", "Part", "activate",
           "adapted_layers", "adapters", "delete", "disabled", "merge", "merged", "route", "unmerge"]
