"""tests.experiments.store.made"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

wandb = pytest.importorskip("wandb")


def records(file: Path) -> Iterator[Any]:
    """The protobuf records of a .wandb file: a LevelDB log of 32 KiB blocks behind a 7-byte file header."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    content, position, message = file.read_bytes(), 7, b""
    while position + 7 <= len(content):
        if (left := 32768 - position % 32768) < 7:
            position += left
            continue
        size, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
        message += content[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in (1, 4):  # a whole record, or the last piece of one
            yield Record.FromString(message)
            message = b""


def values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
