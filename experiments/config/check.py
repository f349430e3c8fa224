"""Check a command's config: each key is one that is read, and each value one that its key can have."""

from collections.abc import Mapping
from typing import Any

from hydra.utils import get_object

from experiments.config.keys import METHODS, Table, table_of
from experiments.config.values import ANYTHING, TEXT, arguments_of, takes_any
from lora.errors import nearest

HYDRAS = ("_target_", "_convert_", "_recursive_", "_partial_", "_args_")  # keys that hydra's instantiate reads
OURS = "lora."


def check_config(command: str, config: Mapping[str, Any]) -> None:
    """Raise ValueError naming the first wrong key or value of a command's config, before anything heavy is imported."""
    check_keys("", config, table_of(command, config))


def check_keys(prefix: str, node: Any, table: Table) -> None:
    """Raise ValueError for a key that `table` does not have, for one that is not there, and for a wrong value."""
    if not isinstance(node, Mapping):
        raise ValueError(f"{prefix} {node!r} is not a group of keys: {', '.join(_names(table))}")
    start = f"{prefix}." if prefix else ""
    for key in node:
        if key not in _names(table):
            raise ValueError(f"key {start + str(key)!r} is read by nothing; {prefix or 'the command'} has "
                             f"{', '.join(_names(table)) or 'no keys'}{nearest(str(key), _names(table))}")
    for key, values in table.items():
        name = key.removesuffix("?")
        if name not in node:
            if key == name:
                raise ValueError(f"key {start + name!r} is not there")
        elif isinstance(values, Mapping):
            check_keys(start + name, node[name], values)
        else:
            values.check(start + name, node[name])
            check_made(start + name, node[name])


def check_made(prefix: str, node: Any) -> None:
    """Check each mapping in `node` that names a class or function by `_target_` against its arguments."""
    if isinstance(node, list):
        for number, item in enumerate(node):
            check_made(f"{prefix}.{number}", item)
    if not isinstance(node, Mapping):
        return
    if isinstance(target := node.get("_target_"), str):
        _check_arguments(prefix, {key: value for key, value in node.items() if key not in HYDRAS}, target,
                         partial=bool(node.get("_partial_")))
    for key, value in node.items():
        check_made(f"{prefix}.{key}", value)


def _check_arguments(prefix: str, arguments: Mapping[str, Any], target: str, partial: bool) -> None:
    """Check arguments against the signature and type hints of `target`; a method of lora is not imported."""
    if target.startswith(OURS) and (name := target.rpartition(".")[2]) in METHODS:
        check_keys(prefix, arguments, {"name": TEXT, **METHODS[name]})
        return
    made = get_object(target)
    table: Table = {}
    for name, (values, needed) in arguments_of(made).items():
        built = isinstance(arguments.get(name), Mapping) and "_target_" in arguments[name]
        table[name if needed and not partial else f"{name}?"] = ANYTHING if built else values
    if takes_any(made):
        table |= {name: ANYTHING for name in arguments if name not in _names(table)}
    check_keys(prefix, arguments, table)


def _names(table: Table) -> list[str]:
    return [key.removesuffix("?") for key in table]
