"""Every key of conf/ is read: a key that nothing reads looks like a choice and changes nothing."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.config.console import Command, commands
from experiments.store.paths import CONF
from tests.source import CODE, imports, tree

CHECKED_ELSEWHERE = ("artifact", "suite", "hydra")  # an unknown key of theirs is an error when they are read
NAMES_ARE_DATA = {  # mappings whose keys name methods or settings, or belong to another library
    "model.config", "latency.widths.few", "latency.widths.many", "tune.rates",
}


def keys(node: Any, path: str) -> Iterator[str]:
    """Dotted paths of a file's keys; those below `_target_` are its arguments, and an unknown one is an error."""
    if isinstance(node, list):
        for item in node:
            yield from keys(item, path)
    if not isinstance(node, dict) or "_target_" in node or path in NAMES_ARE_DATA:
        return
    for name, value in node.items():
        if name != "defaults":
            yield f"{path}.{name}"
            yield from keys(value, f"{path}.{name}")


def read_words(modules: set[str]) -> set[str]:
    """Every attribute and every string that the modules read, dotted strings by their parts."""
    words: set[str] = set()
    for module in modules:
        for node in ast.walk(tree(CODE[module])):
            if isinstance(node, ast.Attribute):
                words.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                words |= set(node.value.split(".")) if re.fullmatch(r"[\w.]+", node.value) else set()
    return words


def interpolated_words(files: list[Path]) -> set[str]:
    references = [reference for file in files for reference in re.findall(r"\$\{([^}]*)", file.read_text())]
    return {word for reference in references for word in re.split(r"\W+", reference)}


def closure(module: str) -> set[str]:
    """A module and all of the project that it imports, directly or not."""
    reached, waiting = set(), [module]
    while waiting:
        if (module := waiting.pop()) in CODE and module not in reached:
            reached.add(module)
            waiting += [imported.module for imported in imports(CODE[module])]
            waiting += [node.value for node in ast.walk(tree(CODE[module]))  # modules that are imported by name
                        if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return reached


def unread(file: Path, prefix: str, words: set[str]) -> list[str]:
    return [key for key in keys(yaml.safe_load(file.read_text()), prefix) if key.rpartition(".")[2] not in words]


@pytest.mark.parametrize("command", commands().values(), ids=lambda command: command.module)
def test_a_command_reads_every_key_of_its_file(command: Command) -> None:
    file = CONF / f"{command.config_name}.yaml"
    words = read_words(closure(command.module)) | interpolated_words([file])
    assert not unread(file, command.config_name, words)


@pytest.mark.parametrize("group", sorted(
    folder.name for folder in CONF.iterdir() if any(folder.glob("*.yaml")) and folder.name not in CHECKED_ELSEWHERE))
def test_some_command_reads_every_key_of_a_group(group: str) -> None:
    words = read_words(set(CODE)) | interpolated_words(sorted(CONF.rglob("*.yaml")))
    assert not [key for file in sorted((CONF / group).glob("*.yaml")) for key in unread(file, group, words)]


def test_a_key_that_nothing_reads_is_found(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("seed: 0\nnobody_reads_this: 1\ntask: {_target_: made.Task, argument: 1}\n")
    assert unread(file, "train", read_words(closure("experiments.train"))) == ["train.nobody_reads_this"]
