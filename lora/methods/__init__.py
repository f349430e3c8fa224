"""Adaptation methods, one file each."""

from lora.methods.adapter_d import AdapterD
from lora.methods.adapter_h import AdapterH
from lora.methods.adapter_l import AdapterL
from lora.methods.adapter_p import AdapterP
from lora.methods.base import Method, ParameterGroup
from lora.methods.bitfit import BitFit
from lora.methods.ft import FullFineTuning
from lora.methods.ft_top import TopBlocks
from lora.methods.lora import LoRA

__all__ = ["AdapterD", "AdapterH", "AdapterL", "AdapterP", "BitFit", "FullFineTuning", "LoRA", "Method",
           "ParameterGroup", "TopBlocks"]
