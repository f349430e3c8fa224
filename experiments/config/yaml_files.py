"""Files of conf/ as text: the comment on a key's line, the package of a file, the choices that are absent and why."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path


def absent(folder: Path) -> dict[str, str]:
    """By choice why a group does not have it, of those that one would look for (absent.csv in its folder)."""
    if not (file := folder / "absent.csv").is_file():
        return {}
    with file.open(newline="") as stream:
        return {choice: why for choice, why in list(csv.reader(stream))[1:]}


def is_global(file: Path) -> bool:
    """Whether a group's file puts its keys at the root of the config (`# @package _global_`)."""
    return file.is_file() and file.read_text(encoding="utf-8").startswith("# @package _global_")


def documented_keys(file: Path) -> Iterator[tuple[str, str, str]]:
    """(key, default, comment) of each line of a YAML file that carries all: `key: default  # comment`."""
    path: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        if match := re.match(r"( *)(\w+):(?: +(\S.*?))?(?: +# (.*))?$", line):
            indent, key, default, comment = match.groups()
            path[len(indent) // 2 :] = [key]
            if default and comment:
                yield ".".join(path), default.strip(), comment
