"""The project's source files as syntax trees, and what they import."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.conftest import ROOT

PACKAGES = ("lora", "analysis", "experiments")


@dataclass(frozen=True)
class Import:
    """One imported module, its line, and whether the statement is inside a function."""

    module: str
    line: int
    deferred: bool

    @property
    def is_ours(self) -> bool:
        return self.module.split(".")[0] in PACKAGES


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


CODE = {module_of(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}
TESTS = {module_of(path): path for path in sorted((ROOT / "tests").rglob("*.py"))}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> tuple[Import, ...]:
    """Every import of a file, type-only ones included."""
    deferred = {id(node) for function in functions(path) for node in ast.walk(function)}
    return tuple(Import(module, node.lineno, id(node) in deferred)
                 for node in ast.walk(tree(path)) if isinstance(node, ast.Import | ast.ImportFrom)
                 for module in imported_modules(node, path))


def imported_modules(node: ast.Import | ast.ImportFrom, path: Path) -> Iterator[str]:
    """`from package import name` imports package.name if that is a file, otherwise package."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    assert node.module is not None and node.level == 0, f"{path}:{node.lineno}: a relative import"  # noqa: PT018
    for alias in node.names:
        full_name = f"{node.module}.{alias.name}"
        yield full_name if full_name in CODE | TESTS else node.module


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
