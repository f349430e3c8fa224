"""A classification task made of the installed packages' sources: the package that a docstring is from.

Each row is the first sentence of a public function's, class's or method's docstring; package names and
the names in the module's own path are masked. The sources are parsed, not imported, and nothing is
downloaded.
"""

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import re
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.tasks.base import TextTask
from experiments.tasks.data import TextTable
from lora.errors import nearest

MASK = "_"


@dataclass(frozen=True, kw_only=True)
class Docstrings(TextTask):
    """Equally many sentences a package; files in the order of their path's hash, until there are enough."""

    packages: list[str]
    rows_per_package: int
    minimum_words: int
    train_share: float  # of all rows, by the hash of their text
    masked: list[str]  # beside the package names; a word that starts with one is masked

    def read(self, split: str) -> TextTable:
        rows = [row for row in self.rows if (_fraction(row[0]) < self.train_share) == (split == "train")]
        source = f"docstrings of {', '.join(self.packages)} ({split})"
        if not rows:
            raise ValueError(f"{source}: no rows with task.train_share={self.train_share}")
        columns = [list(column) for column in zip(*rows, strict=True)]
        return TextTable(source, dict(zip((self.text[0], self.label), columns, strict=True)))

    @property
    def rows(self) -> list[tuple[str, str]]:
        """(sentence, package), no sentence twice, in an order that depends on the texts alone."""
        return _rows(tuple(self.packages), self.rows_per_package, self.minimum_words, tuple(self.masked))

    def identity(self) -> dict[str, Any]:
        """With the sha256 of the rows, which the installed versions decide."""
        text = "\n".join("\t".join(row) for row in self.rows)
        return asdict(self) | {"rows": hashlib.sha256(text.encode()).hexdigest()}


@functools.cache
def _rows(
    packages: tuple[str, ...], rows_per_package: int, minimum_words: int, masked: tuple[str, ...]
) -> list[tuple[str, str]]:
    """Docstrings.rows, found once in a process."""
    found: dict[str, str] = {}
    for package in packages:
        new = 0
        for sentence in _sentences(package, packages + masked, minimum_words):
            if sentence not in found:
                found[sentence] = package
                new += 1
            if new >= rows_per_package:
                break
        else:
            raise ValueError(
                f"package {package!r} has {new} different docstrings, fewer than "
                f"task.rows_per_package={rows_per_package}"
            )
    return sorted(found.items(), key=lambda row: hashlib.sha256(row[0].encode()).digest())


def _sentences(package: str, masked: tuple[str, ...], minimum_words: int) -> Iterator[str]:
    """Masked first sentences of at least `minimum_words` words."""
    root = _folder(package)
    names = "|".join(map(re.escape, masked))
    modules = [path.relative_to(root) for path in root.rglob("*.py")]
    for module in sorted(modules, key=lambda module: hashlib.sha256(module.as_posix().encode()).digest()):
        if {"test", "tests"} & set(module.parts):
            continue
        own_names = "|".join(map(re.escape, module.with_suffix("").parts))
        mask = re.compile(rf"\b(?:(?:{names})\w*|(?:{own_names})\b)", re.IGNORECASE)
        for docstring in public_docstrings((root / module).read_bytes()):
            sentence = mask.sub(MASK, first_sentence(docstring))
            if len(sentence.split()) >= minimum_words:
                yield sentence


def public_docstrings(source: bytes) -> Iterator[str]:
    """Docstrings of the public functions and classes of a module, and of public methods; in source order."""

    def walk(body: list[ast.stmt]) -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                yield ast.get_docstring(node) or ""
                if isinstance(node, ast.ClassDef):
                    yield from walk(node.body)

    with warnings.catch_warnings(action="ignore"):  # of stray backslashes in others' sources
        try:
            module = ast.parse(source)
        except SyntaxError:  # a template, or for another Python
            return
    yield from walk(module.body)


def first_sentence(docstring: str) -> str:
    """The first paragraph on one line, up to its first full stop."""
    paragraph = " ".join(docstring.strip().split("\n\n")[0].split())
    return re.split(r"(?<=[.!?])\s", paragraph)[0]


def _folder(package: str) -> Path:
    """The folder of a package's sources; ValueError if it is not installed. Does not import it."""
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        installed = importlib.metadata.packages_distributions()
        raise ValueError(
            f"package {package!r} of task.packages is not installed{nearest(package, installed)}"
        )
    return Path(spec.submodule_search_locations[0])


def _fraction(text: str) -> float:
    """A number in [0, 1) made from the hash of the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
