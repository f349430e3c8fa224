"""The code of methods and tasks that are defined outside this project, as a part of a run's identity."""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.utils import get_object

from experiments.store.files import sha256

OURS = ("lora", "experiments")


def foreign_code(configs: list[dict[str, Any]]) -> dict[str, str]:
    """sha256 of the source file of each class or function in `configs` from outside the project, by its path.

    An edited file is so another run; the classes of this project are versioned with it (RunRecord.commit).
    """
    return {target: "+".join(sha256(file) for file in _files(get_object(target)))
            for target in sorted(set(_targets(configs))) if target.partition(".")[0] not in OURS}


def _targets(node: Any) -> Iterator[str]:
    """The paths of classes and functions below a node of a config."""
    if isinstance(node, dict):
        yield from [node["_target_"]] if isinstance(node.get("_target_"), str) else []
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else []:
        yield from _targets(item)


def _files(target: Any) -> list[Path]:
    """The files of a class and of its bases, or of a function, that are neither this project's nor Python's."""
    modules = dict.fromkeys(defined.__module__ for defined in getattr(target, "__mro__", (target,)))
    foreign = [module for module in modules if module.partition(".")[0] not in (*OURS, *sys.stdlib_module_names)]
    return [Path(file) for module in foreign if (file := inspect.getsourcefile(sys.modules[module])) is not None]
