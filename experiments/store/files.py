"""Files that are written whole or not at all, their sha256, and values as JSON has them."""

import functools
import hashlib
import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

LONGEST = 200  # characters of a name: 255 bytes is the limit of most file systems, and suffixes follow


def write_atomic(path: Path, content: str | bytes) -> Path:
    """Write a file (text as UTF-8) through a temporary one, flushed to disk and renamed; makes its folder at need.

    OSError names a file that cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror or error}") from error
    return path


def file_name(name: str) -> str:
    """`name` as the stem of a file on any file system: ASCII, no folder, short enough for any suffix."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:LONGEST]


def sha256(path: Path) -> str:
    """sha256 of a file; a file is read once in a process, unless its size or time changes."""
    status = path.stat()
    return _sha256(path.resolve(), status.st_size, status.st_mtime_ns)


def cached(group: str, given: str, make: Callable[[], str]) -> str:
    """The line that `make` gives, from the user's cache where it has been made before from the same `given`.

    The cache is $XDG_CACHE_HOME/lora-lab (~/.cache/lora-lab); where it cannot be written, nothing is kept.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = Path(home) / "lora-lab" / group / hashlib.sha256(given.encode()).hexdigest()
    with suppress(OSError):
        return path.read_text()
    line = make()
    with suppress(OSError):
        write_atomic(path, line)
    return line


def plain(value: Any) -> Any:
    """`value` as JSON has it: NaN and infinities as null, numbers of numpy and torch as numbers, the rest as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return plain(value.item()) if hasattr(value, "item") else str(value)


@functools.cache
def _sha256(path: Path, size: int, mtime: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_line(record: Mapping[str, Any]) -> str:
    """The record as JSON on one line: NaN and infinity as null, numbers of numpy and torch as numbers."""
    return json.dumps(plain(record), allow_nan=False)


def check_writable(name: str, folder: Path) -> None:
    """Make the folder; raise OSError, in which it is called `name`, where nothing can be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"{name} cannot be written: {error.strerror or error}") from None
