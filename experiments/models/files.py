"""Base models and tokenizers: where their files are, what must be in them, and how a run identifies them.

`cfg` is one file of conf/model. Its `config` holds the architecture fields, so that a shape is known without
files or network; `pinned` is the path that `package`, `revision`, `checksum` and `config` describe. For
another `model.path` these facts are void: the model is what its own config.json says, named by its path.

Every tensor of the base comes from the file; only the task head may be new. On BERT and DeBERTa the pooler's
dense layer belongs to the head when `pooler` is `train`, and to the frozen base when it is `frozen`.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import logging
import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.models.architectures import ATTENTION
from experiments.models.record import SMALL_FILES, check_record
from experiments.store.files import sha256
from experiments.store.paths import ROOT
from lora.errors import check_choice

CHOICES = {"init": ("pretrained", "random"), "weights": ("safetensors", "pickle"), "pooler": ("train", "frozen"),
           "attention": ATTENTION}
FILES = {"safetensors": "model.safetensors", "pickle": "pytorch_model.bin"}
COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")
log = logging.getLogger(__name__)


def model_identity(cfg: DictConfig) -> dict[str, Any]:
    """The part of `cfg` that can change a result: the origin of the weights, and how they are read.

    A hub model is its path and commit, and the sha256 of files that are not the commit's own; a folder or a package is
    the sha256 of each file that is read, which raises where load_model would; a random one is its architecture.
    `attention` is left out: both ways compute the same.
    """
    check(cfg)
    rest = {key: cfg[key] for key in ("init", "pooler", "dropout", "classifier_dropout")}
    if cfg.init == "random":
        return {"config": declared(cfg) or _read_json(model_folder(cfg) / "config.json"), **rest}
    if cfg.path and not _is_local(cfg):
        return {"path": cfg.path, "revision": cfg.revision, **_cached(cfg), **rest}
    folder = checked_folder(cfg)
    small = {path for pattern in SMALL_FILES for path in folder.glob(pattern)}
    files = sorted({*small, *weight_files(cfg, folder)})
    return {"files": {path.name: sha256(path) for path in files}, **rest}


def model_folder(cfg: DictConfig) -> Path:
    """The folder with the model's files: in the package, a local one, or the hub's (downloaded if need be).

    Raises FileNotFoundError where there is none, saying which of the three was looked for.
    """
    if not cfg.path:
        raise FileNotFoundError(f"model {cfg.name!r} names no files: give model.path=<hub id or folder>"
                                " (model.init=random needs only model.config)")
    if cfg.package:
        spec = importlib.util.find_spec(cfg.package)
        if spec is None or not spec.submodule_search_locations:
            raise FileNotFoundError(f"model {cfg.name!r} is in the package {cfg.package!r}, not installed here")
        folder = Path(spec.submodule_search_locations[0]) / cfg.path
    else:
        folder = _local_folder(cfg.path)
    if folder.is_dir():
        return folder
    if _is_local(cfg):
        made = f"; python -m experiments.pretrain model={cfg.name} trains one, to be named by model.path"
        ours = "pretraining" in cfg and cfg.path == cfg.pinned
        raise FileNotFoundError(f"model folder {folder} does not exist{made if ours else ''}")
    return _download(cfg.path, cfg.revision, cfg.weights)


def checked_folder(cfg: DictConfig) -> Path:
    """The folder of a model whose files are what its record and model.checksum say, or the error that names one."""
    folder = model_folder(cfg)
    if (adapter := folder / "adapter_config.json").exists():
        raise ValueError(f"{adapter} is of an adapter, which transformers would load into the base model: keep the "
                         "adapter in a folder of its own")
    check_record(cfg, folder)
    check_weights(cfg, folder)
    return folder


def check(cfg: DictConfig) -> None:
    """Raise ValueError for a value that its key does not have."""
    for key, allowed in CHOICES.items():
        check_choice(f"model.{key}", cfg[key], allowed)
    for key in ("dropout", "classifier_dropout"):
        rate = cfg[key]
        if rate is not None and not (isinstance(rate, int | float) and 0 <= rate < 1):
            raise ValueError(f"model.{key} {rate!r} is not null or a number from 0 and below 1")


def check_weights(cfg: DictConfig, folder: Path) -> None:
    """Raise unless the weights are there, in the declared format and with the sha256 of model.checksum."""
    files = weight_files(cfg, folder)
    actual = "+".join(sha256(file) for file in files) if cfg.checksum else None
    if actual != cfg.checksum:
        raise ValueError(f"{files[0]} has sha256 {actual}, model.checksum is {cfg.checksum}")


def declared(cfg: DictConfig) -> dict[str, Any] | None:
    """The architecture fields of `cfg`, or None where they describe another path than this one."""
    if not cfg.config or cfg.pinned not in (None, cfg.path):
        return None
    return OmegaConf.to_container(cfg.config, resolve=True)  # type: ignore[return-value]


def _is_local(cfg: DictConfig) -> bool:
    """True for a path that is a folder, there or not, rather than the name of a hub repository."""
    return bool(cfg.package) or _local_folder(cfg.path).is_dir() or not HUB_ID.fullmatch(cfg.path)


def _local_folder(path: str) -> Path:
    """The folder of a path; a relative one that the working directory lacks may be beside conf/."""
    folder = Path(path).expanduser()
    return ROOT / folder if not folder.is_dir() and (ROOT / folder).is_dir() else folder


@functools.cache  # the weights, the config and the tokenizer ask for one folder
def _download(path: str, revision: str | None, weights: str) -> Path:
    """Folder of the hub repository's files at `revision`, from the hub's cache or the network."""
    from huggingface_hub import snapshot_download

    log.info("looking for model %s (revision %s) on the hub", path, revision or "main")
    stem, suffix = FILES[weights].split(".")
    try:
        folder = snapshot_download(path, revision=revision, allow_patterns=[*SMALL_FILES, f"{stem}*.{suffix}*"])
    except (OSError, ValueError) as error:
        raise FileNotFoundError(f"model.path {path!r} is not a folder, and the hub did not give it "
                                f"({type(error).__name__}, revision {revision or 'main'}); without network, use "
                                "model.path=<folder>") from error
    return Path(folder)


def fetch(cfg: DictConfig) -> None:
    """Download a hub model that no commit names, so that its identity is that of the commit which is trained."""
    if cfg.init == "pretrained" and cfg.path and not _is_local(cfg) and not COMMIT.fullmatch(cfg.revision or ""):
        model_folder(cfg)


def _cached(cfg: DictConfig) -> dict[str, Any]:
    """Of a hub model in the hub's cache: its commit where `revision` is none, and files that are not the commit's."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(cfg.path, revision=cfg.revision, local_files_only=True))
    except (OSError, ValueError):
        return {}
    commit = {} if COMMIT.fullmatch(cfg.revision or "") else {"commit": folder.name}
    read = {path for pattern in (*SMALL_FILES, f"*{Path(FILES[cfg.weights]).suffix}") for path in folder.glob(pattern)}
    other = {path.name: sha256(path) for path in sorted(read) if not _is_of_commit(path)}
    return commit | ({"files": other} if other else {})


def _is_of_commit(path: Path) -> bool:
    """True for a file of the hub's cache with the content that its blob is named by: sha256, or git's sha1."""
    blob = path.resolve()
    if len(blob.name) == 64:
        return sha256(blob) == blob.name
    content = blob.read_bytes() if len(blob.name) == 40 else b""
    header = f"blob {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest() == blob.name


def weight_files(cfg: DictConfig, folder: Path) -> list[Path]:
    """The file with the weights, or the shards that its index names."""
    name = FILES[cfg.weights]
    if (file := folder / name).is_file():
        return [file]
    if (index := folder / f"{name}.index.json").is_file():
        return _shards(index)
    pickle = cfg.weights == "safetensors" and any(folder.glob("*.bin"))
    hint = "; there is a pickle, which is read only with model.weights=pickle" if pickle else ""
    raise FileNotFoundError(f"no {name} in {folder}{hint}")


def _shards(index: Path) -> list[Path]:
    """The files that an index names."""
    content = _read_json(index)
    shards = [index.parent / name for name in sorted(set((content.get("weight_map") or {}).values()))]
    if not shards or "metadata" not in content:
        raise ValueError(f"{index} is no index of shards: it needs weight_map and metadata")
    if absent := [path.name for path in shards if not path.is_file()]:
        raise FileNotFoundError(f"{index} names {', '.join(absent[:3])}, which {index.parent} does not have")
    return shards


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no {path.name} in {path.parent}")
    return json.loads(path.read_text())
