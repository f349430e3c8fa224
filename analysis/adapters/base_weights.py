"""Single weights of a base model, read tensor by tensor from safetensors: never the whole model.

A base is a safetensors file, or a folder with one or with the shards that an index names. Names may have a prefix
more or less than the adapter's modules have (a body saved alone, or under its head), and a fused projection or a
transposed one (GPT-2's Conv1D) is read as the matrix that the update belongs to.
"""

import difflib
import json
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from analysis.adapters.orientation import of_layer, transposed_by_neighbours
from analysis.adapters.updates import Update
from lora.low_rank import wide
from lora.pair_file import check_real
from lora.sites import CONV1D, same_but_for_prefix, sites_by_name, stored_transposed

WEIGHTS = "model.safetensors"


class BaseWeights:
    """The weights of a base model, by name.

    `transposed` says whether it keeps square weights as (n_in, n_out); where it is None the other weights of their
    layers tell, and `updates`, those of the adapter that is studied.
    """

    def __init__(self, path: Path | str, updates: Sequence[Update] = (), transposed: bool | None = None) -> None:
        self.path, self.updates, self.transposed = Path(path).expanduser(), updates, transposed
        self.files: dict[str, Path] = {}  # the file of each tensor
        for file in _files(self.path):
            with _open(file) as opened:
                self.files |= dict.fromkeys(opened.keys(), file)

    def name_of(self, module: str) -> str:
        """Name of a module's weight in the files; ValueError names one that is missing, and the nearest there is."""
        wanted = f"{module}.weight"
        if wanted in self.files:
            return wanted
        names = [name for name in self.files if same_but_for_prefix(name, wanted)]
        if len(names) != 1:
            near = names or difflib.get_close_matches(wanted, self.files, n=1)
            raise ValueError(f"{self.path} has no tensor {wanted}"
                             + (f"; the nearest is {', '.join(near)}" if near else ""))
        return names[0]

    def weight(self, update: Update) -> Tensor:
        """W0 (n_part, n_in) of the matrix that `update` belongs to, in fp32 or wider."""
        name = self.name_of(update.module)
        with _open(self.files[name]) as file:
            stored = file.get_tensor(name)
        check_real(f"tensor {name} of {self.path}", stored)
        n_part, n_in = update.B.shape[0], update.A.shape[1]
        shape = (n_part * update.part.parts, n_in)
        if tuple(stored.shape) not in (shape, shape[::-1]):
            raise ValueError(f"tensor {name} of {self.path} is {tuple(stored.shape)}: "
                             f"the update of {update.label} needs {shape}")
        square = shape[0] == shape[1]  # the shape tells how the others are stored
        transposed = self._square_transposed(name, update) if square else tuple(stored.shape) != shape
        W = stored.T if transposed else stored                                       # (n_out, n_in)
        W0 = wide(update.part.of(W, 0).reshape(n_part, n_in)).contiguous()
        if not W0.isfinite().all():
            raise ValueError(f"tensor {name} of {self.path} holds NaN or infinite values")
        if not W0.any():
            raise ValueError(f"tensor {name} of {self.path} is zero here")
        return W0

    def _square_transposed(self, name: str, update: Update) -> bool:
        """Whether a square weight is kept as (n_in, n_out); ValueError where nothing tells."""
        if self.transposed is not None:
            return self.transposed
        say = "transposed=false says that it is kept as nn.Linear does, transposed=true as transformers' Conv1D does"
        try:
            by_neighbours = transposed_by_neighbours(name, self._shapes(of_layer(name, self.files)), self.updates)
        except ValueError as error:
            raise ValueError(f"tensor {name} of {self.path} is square, and {error}: {say}") from None
        for told in (by_neighbours, update.transposed):
            if told is not None:
                return told
        kind = self._architecture()
        if kind is not None and kind not in CONV1D:
            return False
        if sites_by_name(update.module) and not stored_transposed(update.module):  # of a BERT or Llama, not a GPT-2
            return False
        raise ValueError(f"tensor {name} of {self.path} is square, and nothing tells whether it is (n_out, n_in) or "
                         f"(n_in, n_out): {say}")

    def _shapes(self, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """The shapes of tensors, without their values."""
        shapes: dict[str, tuple[int, ...]] = {}
        for name in names:
            with _open(self.files[name]) as file:
                shapes[name] = tuple(file.get_slice(name).get_shape())
        return shapes

    def _architecture(self) -> str | None:
        """The model_type of the config.json beside the weights."""
        file = (self.path if self.path.is_dir() else self.path.parent) / "config.json"
        try:
            return json.loads(file.read_text()).get("model_type")
        except (OSError, ValueError):
            return None


def _files(path: Path) -> list[Path]:
    """The safetensors files of a base."""
    if path.is_file():
        return _shards(path) if path.name.endswith(".index.json") else [path]
    if (file := path / WEIGHTS).is_file():
        return [file]
    if (index := path / f"{WEIGHTS}.index.json").is_file():
        return _shards(index)
    files = sorted(path.glob("*.safetensors"))
    if len(files) == 1:
        return files
    lack = f"has {len(files)} safetensors files and none is {WEIGHTS}" if files else f"has no {WEIGHTS}"
    raise FileNotFoundError(f"{path} {lack if path.is_dir() else 'does not exist'}: "
                            "base weights are read from safetensors only")


def _shards(index: Path) -> list[Path]:
    """The files that an index names."""
    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, KeyError) as error:
        raise ValueError(f"{index} is not an index of safetensors files: {error!r}") from None
    files = [index.parent / name for name in names]
    if lacks := [file.name for file in files if not file.is_file()]:
        raise FileNotFoundError(f"{index.parent} lacks {', '.join(lacks[:3])}, which {index.name} names")
    return files


def _open(file: Path) -> safe_open:
    try:
        return safe_open(file, framework="pt")
    except SafetensorError as error:
        raise ValueError(f"{file} is truncated or not a safetensors file: {error}") from None
