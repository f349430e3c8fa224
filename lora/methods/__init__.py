"""Adaptation methods, one file each."""

from lora.methods.base import Method, ParameterGroup
from lora.methods.bitfit import BitFit
from lora.methods.combined import Combined
from lora.methods.ft import FullFineTuning
from lora.methods.lora import LoRA
from lora.methods.prefix_embed import PrefixEmbed
from lora.methods.prefix_layer import PrefixLayer

__all__ = ["BitFit", "Combined", "FullFineTuning", "LoRA", "Method", "ParameterGroup", "PrefixEmbed", "PrefixLayer"]
