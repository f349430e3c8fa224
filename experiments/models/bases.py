"""A base model's weights: a safetensors file or folder, a model of conf/model, or what the adapter names."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from analysis.adapters.base_weights import BaseWeights
from analysis.adapters.read import AdapterUpdates
from analysis.adapters.updates import Problem
from experiments.config.compose import choice
from experiments.config.search_path import config_files
from experiments.models.files import model_folder
from experiments.store.paths import ROOT
from lora.errors import nearest


def open_base(base: str | None, adapter: AdapterUpdates,
              transposed: bool | None = None) -> tuple[BaseWeights | None, list[Problem]]:
    """The weights of `base`, or of the model that the adapter names, None where that is not on this machine.

    A problem says that the adapter is of another model than `base`. `transposed` is as in BaseWeights.
    """
    folder = own_base(adapter.base) if base is None else base_folder(base)
    if folder is None:
        return None, []
    other = None if base is None else _other_model(base, folder, adapter)
    weights = BaseWeights(folder, adapter.updates, transposed)
    return weights, [] if other is None else [Problem("base model", other)]


def needed_base(base: str | None, adapter: AdapterUpdates,
                transposed: bool | None = None) -> tuple[BaseWeights, list[Problem]]:
    """As open_base; ValueError where there is none."""
    weights, problems = open_base(base, adapter, transposed)
    if weights is None:
        name = adapter.base.get("name")
        raise ValueError(f"base is not given, and {adapter.source} names {repr(name) if name else 'none'}"
                         f"{', which is not on this machine' if name else ''}: "
                         "base=<name in conf/model, or safetensors file or folder>")
    return weights, problems


def base_or_problem(base: str | None, adapter: AdapterUpdates,
                    transposed: bool | None = None) -> tuple[BaseWeights | None, list[Problem]]:
    """As open_base, with a problem where the weights of the adapter's own base cannot be read."""
    try:
        return open_base(base, adapter, transposed)
    except (ValueError, OSError) as error:
        if base is not None:
            raise
        return None, [Problem("base", str(error))]


def _other_model(base: str, folder: Path, adapter: AdapterUpdates) -> str | None:
    """Why `base` is another model than the adapter's: by its name, or where it is a path by its config.json."""
    name, architecture = adapter.base.get("name"), adapter.base.get("architecture")
    if not Path(base).expanduser().exists():
        return f"{adapter.source} is of {name!r}, not {base!r}" if name and _last(name) != base else None
    file = (folder if folder.is_dir() else folder.parent) / "config.json"
    try:
        config = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    kind, origin = config.get("model_type"), config.get("_name_or_path")
    if architecture and kind and architecture.replace("_", "-") != kind.replace("_", "-"):
        return f"{adapter.source} is of a {architecture!r} model, and {file} says {kind!r}"
    if not name or not origin or Path(origin).is_absolute() or _last(name) in (_last(origin), file.parent.name):
        return None
    return f"{adapter.source} is of {name!r}, and {file} says {origin!r}"


def _last(name: str) -> str:
    """The last part of a hub id or path."""
    return Path(name).name


def base_folder(base: str) -> Path:
    """A safetensors file or folder, or the folder of a model of conf/model."""
    if (path := Path(base).expanduser()).exists():
        return path
    models = config_files("model")
    if base not in models:
        raise FileNotFoundError(f"base {base!r} is neither a file, nor a folder, nor one of {', '.join(sorted(models))}"
                                f"{nearest(base, models)}")
    return model_folder(choice("model", base))


def own_base(stored: Mapping[str, Any]) -> Path | None:
    """The folder that an adapter's description names, in a package or on disk; never a download."""
    path = stored.get("path") or stored.get("name")
    if not path or not (stored.get("package") or Path(path).is_dir() or (ROOT / path).is_dir()):
        return None
    return model_folder(OmegaConf.create({"name": None, "package": None, "revision": None, "weights": "safetensors",
                                          **stored, "path": path}))
