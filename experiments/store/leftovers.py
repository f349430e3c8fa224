"""Temporary files that a killed process left in a store: found by name, removed where nobody can be writing them."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

SETTLED = 3600  # seconds without a change; counts where the file system's locks do nothing


def leftovers(root: Path) -> Iterator[tuple[str, Path]]:
    """Each temporary file of a store's records, adapters and checkpoints, with its run."""
    for path in (root / "runs").glob(".*.json.*"):
        yield path.name[1:].rpartition(".json.")[0], path
    for pattern in ("adapters/*/.adapter.*.*", "checkpoints/*/*.partial"):
        for path in root.glob(pattern):
            yield path.parent.name, path


def remove_leftovers(root: Path, holding: str, is_free: Callable[[str], AbstractContextManager[bool]]) -> None:
    """Remove those of the run that this process is `holding`, and old ones of other runs that no process holds."""
    for run, path in list(leftovers(root)):
        if run == holding:
            path.unlink(missing_ok=True)
        elif _is_settled(path):
            with is_free(run) as free:
                if free:
                    path.unlink(missing_ok=True)


def _is_settled(path: Path) -> bool:
    """True for a file that has not changed for some time; False for one that is gone."""
    try:
        return time.time() - path.stat().st_mtime > SETTLED
    except FileNotFoundError:
        return False
