"""Tensors and their description as two files of one folder: safetensors and JSON."""

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def write_pair(folder: Path, tensors_name: str, tensors: Mapping[str, Tensor], json_name: str,
               description: Mapping[str, Any], digest: bool = True) -> Path:
    """Write tensors and their description, each complete under a temporary name before either is renamed.

    With `digest` the description gets the tensors' sha256, which tells a pair that was broken by a kill
    between the renames.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = {name: folder / f".{name}.{os.getpid()}" for name in (tensors_name, json_name)}
    try:
        save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()},
                  temporary[tensors_name], metadata={"format": "pt"})
        described = {**description} | ({"sha256": _sha256(temporary[tensors_name])} if digest else {})
        temporary[json_name].write_text(json.dumps(described, indent=1, default=_plain) + "\n")
        for path in temporary.values():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        for name, path in temporary.items():
            path.replace(folder / name)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)
    return folder


def _plain(value: object) -> object:
    """Lists and mappings of configuration libraries as json's own."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Collection):
        return list(value)
    raise TypeError(f"{value!r} ({type(value).__name__}) cannot be written to an adapter's JSON file")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_pair(folder: Path, tensors_name: str, json_name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description and tensors of a folder; errors name what is missing, broken or a pickle."""
    if folder.suffix in PICKLES and folder.is_file():
        raise ValueError(f"{folder} is a pickle, which can run code when read: {tensors_name} is expected")
    if not (folder / json_name).is_file():
        inside = sorted(path.parent.name for path in folder.glob(f"*/{json_name}"))  # PEFT's, if named
        raise FileNotFoundError(f"{folder} is not an adapter folder: it has no {json_name}"
                                + (f", but its folders {', '.join(inside[:3])} have" if inside else ""))
    path = folder / tensors_name
    if not path.is_file():
        pickles = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES)
        if pickles:
            raise ValueError(f"{folder} holds a pickle, {pickles[0]}, which can run code when read: "
                             f"{tensors_name} is expected")
        raise FileNotFoundError(f"{folder} has no {tensors_name}")
    try:
        description = json.loads((folder / json_name).read_text())
    except ValueError as error:
        raise ValueError(f"{folder / json_name} is not complete JSON: {error}") from None
    if description.get("sha256") not in (None, _sha256(path)):
        raise ValueError(f"{path} is not what {json_name} describes (its sha256 differs): "
                         "truncated, or of another save")
    try:
        return description, load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or not a safetensors file: {error}") from None
