"""The checksum that a run record carries of itself, so that an edited or copied file is never taken for a result."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

KEY = "checksum"
GO_ON = "compute the run again with overwrite=true, or remove the file"


def checksum(data: Mapping[str, Any]) -> str:
    """sha256 of a record as JSON with sorted keys, its checksum left out: white space does not count."""
    content = {key: value for key, value in data.items() if key != KEY}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_record(path: Path, schema: int) -> dict[str, Any]:
    """A record's content; ValueError, which says how to go on, for a file that is not as it was written."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        found = data["schema"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise broken(path, f"is not a run record: {error}") from None
    if found != schema:
        raise broken(path, f"has schema {found}, this code reads {schema}")
    if KEY not in data:
        raise broken(path, "has no checksum of itself")
    if data.pop(KEY) != checksum(data):
        raise broken(path, "was changed after it was written: its checksum is of other content")
    if data["run"] != path.stem:
        raise broken(path, f"is a copy of the record of {data['run']}")
    return dict(data)


def broken(path: Path, why: str) -> ValueError:
    """The error for a file that cannot be taken for a record."""
    return ValueError(f"{path} {why}; {GO_ON}")
