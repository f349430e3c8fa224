"""Starting from what another run trained, its head left out (section 5: MRPC, RTE and STS-B start from MNLI).

The base stays the frozen one: only the adapter's own tensors, and base parameters that the method trains in place,
are taken over.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from lora.adapter_file import (
    account,
    adapter_tensors,
    find_adapter,
    fingerprint,
    load_tensors,
    method_of,
    read_adapter,
)
from lora.methods import Method

# fields of a method that say how it trains or what it starts from, not what it is
MAY_DIFFER = ("name", "dropout", "learning_rate_scale_B", "init_std")
log = logging.getLogger(__name__)


def check_source(source: str, folder: Path, method: Method) -> None:
    """ValueError naming each difference that matters between `method` and that of the adapter in `folder`."""
    theirs = method_of(read_adapter(folder)[0]["method"])
    if type(theirs) is not type(method):
        raise ValueError(f"init_from {source}: its method is {theirs.name} ({type(theirs).__name__}), "
                         f"this run's is {method.name} ({type(method).__name__})")
    before, now = _fields(_plain(theirs.config())), _fields(_plain(method.config()))
    differing = [key for key in before | now if _matters(key.rpartition(".")[2], before.get(key), now.get(key))]
    kinds = [key for key in differing if key.endswith(".class")]  # of which all other fields are others, too
    if differing:
        differences = [f"method.{key} is {before.get(key)!r} there and {now.get(key)!r} here"
                       for key in kinds or differing]
        raise ValueError(f"init_from {source}: {', '.join(differences)}")


def _fields(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A method's fields by name, and those of a combined one's parts as parts.lora.rank."""
    fields = {f"{prefix}{key}": value for key, value in config.items() if key != "parts"}
    for word, part in config.get("parts", {}).items():
        fields |= _fields(part, f"{prefix}parts.{word}.")
    return fields


def _matters(field: str, theirs: Any, ours: Any) -> bool:
    """True if an adapter with `theirs` in this field is not one with `ours` in it."""
    if theirs == ours or field in MAY_DIFFER:
        return False
    if field == "targets":  # in any order
        return set(theirs or ()) != set(ours or ())
    if field == "init":  # is overwritten, but PiSSA's also stays taken out of the base
        return "pissa" in (theirs, ours)
    return field != "separator" or None not in (theirs, ours)  # null until the method is applied


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """A method's fields, lists and mappings of configuration libraries as json's own."""
    return json.loads(json.dumps(config, default=lambda value: dict(value) if isinstance(value, Mapping)
                                 else list(value)))


def start_from(folder: Path | None, model: PreTrainedModel, base: str) -> dict[str, Any] | None:
    """Give the active adapter of `model`, whose base is called `base`, the values in `folder`; the head stays new.

    Returns what the run's record says of it. Without a folder nothing changes, and None is returned. ValueError where
    the adapter is of another base model, or does not fit.
    """
    if folder is None:
        return None
    description, tensors = read_adapter(folder)
    theirs, trained = description["base"], [*description["in_place"], *description["head"]]
    if (architecture := description["architecture"]) != model.config.model_type:
        raise ValueError(f"{folder} adapts a {architecture} model, {theirs.get('name')}; "
                         f"{base} is a {model.config.model_type}")
    _, adapter = find_adapter(model, None)
    check_source(str(folder), folder, adapter.method)
    ours = adapter_tensors(model)
    taken = {key: value for key, value in tensors.items() if key not in description["head"]}
    if fingerprint(model, trained) != theirs["fingerprint"]:
        here = f"those of {base}" if theirs.get("name") != base else "those here: another file, or model.init=random"
        raise ValueError(f"{folder} adapts {theirs.get('name')}, of which the weights are not {here}")
    account(folder, taken, {key: value for key, value in ours.items() if key not in adapter.head})
    if theirs["fingerprint"] is None and theirs.get("name") != base:  # full fine-tuning leaves no weight to compare
        raise ValueError(f"{folder} adapts {theirs.get('name')}, not {base}")
    load_tensors(model, taken | {key: ours[key] for key in adapter.head})
    origin = {key: description["extra"].get(key) for key in ("run", "task", "score")}
    log.info("starts from %s; the head is new", origin["run"] or folder)
    return origin | {"sha256": description["sha256"]}
