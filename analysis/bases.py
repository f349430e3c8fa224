"""Where a base model's weights are: a safetensors file or folder, a model of conf/model, or what the adapter names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.entry import CONF
from experiments.models import ROOT, model_folder
from lora.errors import nearest


def base_folder(base: str) -> Path:
    """A safetensors file or folder, or the folder of a model of conf/model."""
    if (path := Path(base).expanduser()).exists():
        return path
    models = {file.stem: file for file in (CONF / "model").glob("*.yaml")}
    if base not in models:
        raise FileNotFoundError(f"base {base!r} is neither a file, nor a folder, nor one of {', '.join(sorted(models))}"
                                f"{nearest(base, models)}")
    model = OmegaConf.load(models[base])
    assert isinstance(model, DictConfig)
    return model_folder(model)


def own_base(stored: Mapping[str, Any]) -> Path | None:
    """The folder that an adapter's description names, in a package or on disk; never a download."""
    path = stored.get("path") or stored.get("name")
    if not path or not (stored.get("package") or Path(path).is_dir() or (ROOT / path).is_dir()):
        return None
    return model_folder(OmegaConf.create({"name": None, "package": None, "revision": None, "weights": "safetensors",
                                          **stored, "path": path}))
