"""The three layouts of adapters, read without a model: ours, PEFT's folders and loralib's state dicts.

Each reader returns the base model's description as far as stored, the updates, and a problem for each module
whose tensors cannot be studied. Tensors that belong to no low-rank pair (heads, biases, norms) are left out.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from analysis.adapters.updates import Named, Problem, Update, checked, of_module, of_site, trained
from lora.adapter_file import read_adapter
from lora.loralib import is_merged, read_loralib, split_merged
from lora.low_rank import Part, scaling_of
from lora.peft import read_peft, size_of
from lora.peft_keys import PREFIX
from lora.sites import CONV1D, Site, stored_transposed

Pair = tuple[Named, Named]  # A and B
# PEFT's options that train something beside dW, which stays scaling * B A: a bias of B, rows of the embedding
BESIDE = ("lora_bias", "trainable_token_indices", "ensure_weight_tying")


@dataclass(frozen=True)
class Contents:
    """The contents of an adapter's file."""

    base: Mapping[str, Any]  # the base model's name, path, revision, fingerprint, architecture, as far as stored
    updates: list[Update]
    problems: list[Problem]


def read_ours(folder: Path, factors: bool = False) -> Contents:
    """A folder with adapter.safetensors and adapter.json (lora.adapter_file); `factors` as in read_updates."""
    description, tensors = read_adapter(folder)
    sites = {f"{site['module']}.{site['role']}": site for site in description["sites"]}
    method = description["method"]
    for part in _methods(method):
        _refuse_descendants(folder, part.get("dora", False) and not factors, part.get("init"))
    if not sites:
        raise ValueError(f"{folder} has no low-rank updates: its method is {method['name']}")

    def updates(key: str, A: Tensor, B: Tensor) -> list[Update]:
        site = sites[key]
        part = Part(site["groups"], site["parts"], site["index"])
        if site["role"] == "weight":  # the target was a glob
            made = of_module(site["module"], A, B, site["scaling"])
        else:
            made = [of_site(Site(site["role"], site["module"], part), A, B, site["scaling"])]
        return [replace(update, transposed=_transposed(architecture, update.module)) for update in made]

    architecture = description.get("architecture")
    pairs = {key: (_named(tensors, f"{key}.A"), _named(tensors, f"{key}.B")) for key in sites}
    base = {**description["base"], "architecture": architecture}
    return Contents(base, *_updates_of(pairs, updates))


def read_peft_folder(folder: Path, factors: bool = False) -> Contents:
    """A folder with adapter_model.safetensors and adapter_config.json; `factors` as in read_updates."""
    config, tensors = read_peft(folder, BESIDE)
    _refuse_descendants(folder, config.get("use_dora", False) and not factors, config.get("init_lora_weights"))

    def updates(module: str, A: Tensor, B: Tensor) -> list[Update]:
        size = size_of(config, module, len(A))
        scaling = scaling_of(size.rank, size.alpha, config.get("use_rslora", False))
        transposed = config.get("fan_in_fan_out")  # PEFT writes what its last layer is, whatever was asked for
        return [replace(update, transposed=transposed) for update in of_module(module, A, B, scaling)]

    base = {"name": config.get("base_model_name_or_path"), "revision": config.get("revision"),
            "architecture": _architecture(config)}
    pairs = _pairs(tensors, rf"{re.escape(PREFIX)}(.+)\.lora_(?:embedding_)?([AB])(?:\.weight)?")
    return Contents({key: value for key, value in base.items() if value}, *_updates_of(pairs, updates))


def _transposed(architecture: str | None, module: str) -> bool | None:
    """Whether transformers' model keeps a module's weight as (n_in, n_out); None where it has layers of both kinds."""
    if architecture in CONV1D:
        return stored_transposed(module) or None
    return None if architecture is None else False


def _architecture(config: Mapping[str, Any]) -> str | None:
    """The model_type that PEFT's auto_mapping tells, of transformers.models.<type>.modeling_<type>."""
    library = str((config.get("auto_mapping") or {}).get("parent_library"))
    match = re.match(r"transformers\.models\.\w+\.modeling_(\w+)", library)
    return match[1] if match else None


def read_state_dict(file: Path, alpha: float | None = None, fused: Sequence[str] | None = None) -> Contents:
    """A loralib state dict; it has no alpha of its own, and `fused` is as in lora.loralib.load_loralib."""
    def updates(module: str, A: Tensor, B: Tensor) -> list[Update]:
        scaling = None if alpha is None else scaling_of(B.shape[1], alpha, False)
        if not is_merged(A, B, fused):
            return of_module(module, A, B, scaling)
        roles = split_merged(module, A, B, fused)
        order = "qkv" if set(roles) <= set("qkv") else tuple(roles)  # q and v are parts 0 and 2 of three
        parts = [of_site(Site(role, module, Part(parts=len(order), index=order.index(role))), *pair, scaling)
                 for role, pair in roles.items() if trained(*pair)]
        if not parts:
            raise ValueError(f"tensors {pairs[module][0].name} and {pairs[module][1].name} have a product of zero in "
                             "every part: this site is untrained")
        return parts

    pairs = _pairs(read_loralib(file), r"(.+)\.lora_([AB])")
    return Contents({}, *_updates_of(pairs, updates, stacked=True))


def _methods(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A method's configuration, and those of the methods that it combines."""
    yield config
    for part in config.get("parts", {}).values():
        yield from _methods(part)


def _refuse_descendants(folder: Path, dora: bool, init: object) -> None:
    """ValueError where dW is not scaling * B A alone, so that it cannot be told without the base weights."""
    if dora:
        raise ValueError(f"{folder} is a DoRA adapter: its dW rescales the rows of W0, and so is not of low rank")
    if init == "pissa":
        raise ValueError(f"{folder} is a PiSSA adapter: its dW = scaling * (B A - B0 A0), and B0 A0 is in the base "
                         "weights, not in the file")


def _named(tensors: Mapping[str, Tensor], name: str) -> Named:
    return Named(name, tensors.get(name))


def _pairs(tensors: Mapping[str, Tensor], pattern: str) -> dict[str, Pair]:
    """A and B by module, from tensors whose names match `pattern`: module, then A or B."""
    pairs = {}
    for name in tensors:
        if match := re.fullmatch(pattern, name):
            at = match.start(2)
            pairs[match[1]] = (_named(tensors, f"{name[:at]}A{name[at + 1:]}"),
                               _named(tensors, f"{name[:at]}B{name[at + 1:]}"))
    return pairs


def _updates_of(pairs: Mapping[str, Pair], make: Callable[[str, Tensor, Tensor], list[Update]],
          stacked: bool = False) -> tuple[list[Update], list[Problem]]:
    """The updates of every module, and the problems of those that have none; `stacked` as in checked."""
    updates, problems = [], []
    for module, (A, B) in pairs.items():
        try:
            updates += make(module, *checked(A, B, stacked))
        except ValueError as error:
            problems.append(Problem(module, str(error)))
    return updates, problems
