"""Tensors and their description as two files of one folder: safetensors (or PEFT's older pickle) and JSON."""

import hashlib
import json
import os
import pickle
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


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


def read_pair(folder: Path, tensors_name: str, json_name: str,
              pickle_name: str | None = None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description and tensors of a folder; errors name what is missing, broken or a pickle.

    A pickle is read only where it is called `pickle_name` and there is no safetensors file.
    """
    if folder.suffix in PICKLES and folder.is_file():
        raise ValueError(f"{folder} is a pickle, which can run code when read: {tensors_name} is expected")
    if not (folder / json_name).is_file():
        inside = sorted(path.parent.name for path in folder.glob(f"*/{json_name}"))  # PEFT's, if named
        raise FileNotFoundError(f"{folder} is not an adapter folder: it has no {json_name}"
                                + (f", but its folders {', '.join(inside[:3])} have" if inside else ""))
    path = _tensors_file(folder, tensors_name, pickle_name)
    try:
        description = json.loads((folder / json_name).read_text())
    except ValueError as error:
        raise ValueError(f"{folder / json_name} is not complete JSON: {error}") from None
    if not isinstance(description, dict):
        raise ValueError(f"{folder / json_name} holds a {type(description).__name__}, not keys and values")
    if description.get("sha256") not in (None, _sha256(path)):
        raise ValueError(f"{path} is not what {json_name} describes (its sha256 differs): "
                         "truncated, or of another save")
    if path.name == pickle_name:
        return description, tensors_of(path, read_pickle(path))
    try:
        return description, load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or not a safetensors file: {error}") from None


def _tensors_file(folder: Path, tensors_name: str, pickle_name: str | None) -> Path:
    """The file with a folder's tensors; an error names a pickle that is none of `pickle_name`."""
    for name in filter(None, (tensors_name, pickle_name)):
        if (folder / name).is_file():
            return folder / name
    if pickles := sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES):
        raise ValueError(f"{folder} holds a pickle, {pickles[0]}, which can run code when read: "
                         f"{tensors_name} is expected")
    raise FileNotFoundError(f"{folder} has no {tensors_name}")


def read_pickle(file: Path) -> Any:
    """The content of a pickle of tensors and plain data, read without running code; ValueError for any other."""
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{file} is truncated or not a checkpoint of tensors: {reason}") from None


def tensors_of(source: object, state: Any) -> dict[str, Tensor]:
    """A state dict; ValueError for what is none, or holds more than tensors."""
    if not isinstance(state, Mapping):
        raise ValueError(f"{source} holds a {type(state).__name__}, not tensors by name")
    if odd := [key for key, value in state.items() if not isinstance(value, Tensor)]:
        raise ValueError(f"{source} holds {odd[0]!r}, which is no tensor")
    return dict(state)


def check_real(name: str, tensor: Tensor) -> None:
    """ValueError where the numbers are not the values: integers and fp8 stand for others by scales kept elsewhere."""
    if tensor.dtype not in FLOATS:
        raise ValueError(f"{name} is of {tensor.dtype}, whose numbers are not the values alone: it has to be one of "
                         f"{', '.join(str(dtype).removeprefix('torch.') for dtype in FLOATS)}")
