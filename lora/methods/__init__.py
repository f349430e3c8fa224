"""Adaptation methods, one file each."""

from lora.methods.base import Method, ParameterGroup
from lora.methods.bitfit import BitFit
from lora.methods.ft import FullFineTuning
from lora.methods.lora import LoRA

__all__ = ["BitFit", "FullFineTuning", "LoRA", "Method", "ParameterGroup"]
