"""Checks of a base model's weights: each tensor of a file has a place in the model, and its numbers are its values."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lora.sites import LAYER_NUMBER, layer_number

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FLOATS = ("F64", "F32", "F16", "BF16")  # of safetensors: other numbers stand for values by scales kept elsewhere
BUFFERS = re.compile(r"(.*\.)?(masked_bias|bias|inv_freq|position_ids)")  # that older files keep: masks and positions


def check_numbers(files: Iterable[Path]) -> None:
    """Raise ValueError for a safetensors file that is broken, or whose weights are held in integers or fp8."""
    from safetensors import SafetensorError, safe_open

    for path in files:
        try:
            with safe_open(path, "pt") as file:
                types = {key: file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118 (no mapping)
        except SafetensorError as error:
            raise ValueError(f"{path} is truncated or not a safetensors file: {error}") from None
        if other := [key for key, kind in types.items() if kind not in FLOATS and key.endswith("weight")]:
            raise ValueError(f"{path} has {some(other)} of {types[other[0]]}, whose numbers are not the values: give "
                             "the weights as they were before they were quantised")


def check_unread(folder: Path, model: PreTrainedModel, unread: Collection[str]) -> None:
    """Raise ValueError where the body has no place for a tensor of the file that is of one of its layers or modules."""
    starred = {_in_layer(key, model) for key in model.state_dict() if layer_number(key) is not None}
    if beyond := sorted(key for key in unread if _in_layer(key, model) in starred):
        raise ValueError(f"{folder} has tensors of more layers than its config.json says: {some(beyond)}")
    stacks = {key.partition("*")[0] for key in starred}
    whole = {name for name, module in model.base_model.named_modules()
             if not any(module.children()) and any(True for _ in module.parameters())}
    strange = sorted(key for key in unread if _is_within(_bare(key, model), whole) or (
        _in_layer(key, model).partition("*")[0] in stacks and not BUFFERS.fullmatch(key)))
    if strange:
        raise ValueError(f"{folder} has tensors that a {model.config.model_type} model of its config.json has no "
                         f"place for: {some(strange)}")


def check_finite(folder: Path, model: PreTrainedModel, new: Collection[str]) -> None:
    """Raise ValueError for NaN or infinite values in a tensor that is not new."""
    if broken := [key for key, tensor in model.named_parameters() if key not in new and not tensor.isfinite().all()]:
        raise ValueError(f"{folder} has NaN or infinite values in {some(broken)}")


def some(keys: list[str]) -> str:
    """The first of some tensors' names."""
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")


def _bare(key: str, model: PreTrainedModel) -> str:
    """A tensor's name without the prefix that a file of the base model alone leaves out."""
    return key.removeprefix(f"{model.base_model_prefix}.")


def _in_layer(key: str, model: PreTrainedModel) -> str:
    """A tensor's bare name with `*` for its layer."""
    return LAYER_NUMBER.sub("*", _bare(key, model))


def _is_within(key: str, modules: Collection[str]) -> bool:
    """True where a tensor's name begins with that of one of some modules."""
    parts = key.split(".")
    return any(".".join(parts[:end]) in modules for end in range(1, len(parts)))
