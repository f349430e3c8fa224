"""The user's own code that a run's method and task consist of, as a part of the run's identity.

It is the file of each class or function that the config names from outside of this project, of its bases, and of the
modules that those import, as far as they are not installed libraries. A file below lora/ or experiments/ that git does
not track is the user's own, too; the tracked ones are versioned by the record's commit.
"""

import ast
import functools
import importlib.util
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.utils import get_object

from experiments.store.files import sha256
from experiments.store.paths import PACKAGES, ROOT

OURS = ("lora", "experiments", "analysis")
INSTALLED = tuple({Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def foreign_code(configs: list[dict[str, Any]]) -> dict[str, str]:
    """sha256 of the files of each class or function in `configs` that is the user's own, by its path.

    An edited file is so another run.
    """
    files = {target: _files(target) for target in sorted(set(_targets(configs))) if _may_be_own(target)}
    return {target: "+".join(sha256(file) for file in own) for target, own in files.items() if own}


def _targets(node: Any) -> Iterator[str]:
    """The paths of classes and functions below a node of a config."""
    if isinstance(node, dict):
        yield from [node["_target_"]] if isinstance(node.get("_target_"), str) else []
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else []:
        yield from _targets(item)


def _may_be_own(target: str) -> bool:
    """False for a class of this project as git has it, which need not be imported."""
    return target.partition(".")[0] not in OURS or bool(untracked())


@functools.cache
def untracked() -> frozenset[Path]:
    """Python files below lora/ and experiments/ that git does not track; none outside a checkout."""
    words = ["git", "-C", str(ROOT), "ls-files", "--others", "--exclude-standard", "--", *OURS]
    listed = subprocess.run(words, capture_output=True, text=True, check=False) if ROOT == PACKAGES else None
    return frozenset(ROOT / line for line in (listed.stdout.splitlines() if listed else ()) if line.endswith(".py"))


def _files(target: str) -> list[Path]:
    """The user's own files that a class or function is made of: its module, those of its bases, and their imports."""
    made, package = get_object(target), target.partition(".")[0]
    modules = dict.fromkeys(defined.__module__ for defined in getattr(made, "__mro__", (made,)))
    files: dict[Path, None] = {}
    waiting = [*modules]
    while waiting:
        name = waiting.pop(0)
        file = _source(name)
        if file is not None and file not in files and _is_own(file, name, package):
            files[file] = None
            waiting += sorted(_imports(file, name))
    return [*files]


def _is_own(file: Path, module: str, package: str) -> bool:
    """True for a file of the user: neither of this project nor of a library, except the one that has the class."""
    if module.partition(".")[0] in OURS and PACKAGES in file.parents:
        return file in untracked()
    return module.partition(".")[0] == package or not any(folder in file.parents for folder in INSTALLED)


def _source(module: str) -> Path | None:
    """The source file of a module; None for one that is built in or not there."""
    if (loaded := sys.modules.get(module)) is not None:
        file = getattr(loaded, "__file__", None)
    else:
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            return None
        file = None if spec is None else spec.origin
    return Path(file).resolve() if file and file.endswith(".py") else None


def _imports(file: Path, module: str) -> set[str]:
    """The modules that a file may import, anywhere in it, with their packages: of `from a import b` both a and a.b."""
    package = (module if file.stem == "__init__" else module.rpartition(".")[0]).split(".")
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[:len(package) - node.level + 1] if node.level else []
            home = ".".join(filter(None, [*above, node.module]))
            names += [f"{home}.{alias.name}" for alias in node.names]
    words = [name.split(".") for name in names]
    return {".".join(parts[:end]) for parts in words for end in range(1, len(parts) + 1)}
