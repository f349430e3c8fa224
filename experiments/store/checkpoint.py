"""State of a run in progress: only what trains, its optimizer and the random generators; loaded without pickle code.

A file is written whole or not at all, so a kill at any moment leaves the last finished epoch.
"""

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FILE = "state.pt"


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers, strings, lists and dicts of them) and the random generators."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{FILE}.partial"
    with temporary.open("wb") as file:
        torch.save(state | {"random": _random_state()}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / FILE)


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The last state, random generators put back; None where there is none."""
    if not (folder / FILE).exists():
        return None
    state = torch.load(folder / FILE, map_location="cpu", weights_only=True)
    _restore_random(state.pop("random"))
    return state


def remove_checkpoint(folder: Path) -> None:
    """Forget the state of a run that is done."""
    shutil.rmtree(folder, ignore_errors=True)


def _random_state() -> dict[str, Any]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - libraries draw from the global generator
    return {"torch": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "numpy": json.dumps([kind, np.asarray(keys).tolist(), *rest]), "python": json.dumps(random.getstate())}


def _restore_random(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"][:torch.cuda.device_count()])
    kind, keys, *rest = json.loads(state["numpy"])
    np.random.set_state((kind, np.asarray(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    version, numbers, gauss = json.loads(state["python"])
    random.setstate((version, tuple(numbers), gauss))


def seed_everything(seed: int) -> None:
    """Seed every generator that a run may draw from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)


def cpu_copy(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU that later steps don't touch."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
