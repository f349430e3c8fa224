"""Identity of a run: a hash of everything in its config that can change the result, and its name."""

import hashlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf


@dataclass(frozen=True)
class Run:
    """One seed of a cell: its name in the store, the command line that trains it, and the run that it starts from."""

    name: str
    seed: int
    overrides: tuple[str, ...]
    source: "Run | None" = None

    def again(self) -> "Run":
        """The same run, computed though it has a record."""
        return replace(self, overrides=(*self.overrides, "overwrite=true"))


# keys of conf/trainer that say on what and how visibly a run is computed, not what it computes
NOT_IDENTITY = ("device", "threads", "device_batch_size", "evaluation_batch_size", "compile", "log_every",
                "save_adapter", "save_checkpoints")
# numbers that may be written with a point or without; alpha may be one for each target
WHOLE = ("alpha", "init_std", "learning_rate_scale_B")
REAL = ("learning_rate", "warmup_ratio", "weight_decay", "epsilon", "gradient_clip", "label_smoothing")


def identity_of(cfg: DictConfig) -> dict[str, Any]:
    """What can change the result of a run, as data."""
    from experiments.models.files import model_identity

    trainer = OmegaConf.to_container(cfg.trainer, resolve=True)
    method = OmegaConf.to_container(cfg.method, resolve=True)
    assert isinstance(trainer, dict)
    parts = {"model": model_identity(cfg.model), "task": instantiate(cfg.task).identity(), "method": method,
             "trainer": {key: value for key, value in trainer.items() if key not in NOT_IDENTITY}}
    start = {} if cfg.init_from is None else {"init_from": source_name(cfg.init_from, cfg.store)}
    return _stated(_typed(parts)) | start | {"seed": cfg.seed}


def source_name(source: str, store: str) -> str:
    """What a run knows the adapter by that it starts from: the run that made it, or the tensors' sha256 if none did.

    A run has its name, of which a part is its identity, before it is computed, so that what depends on it has too.
    """
    path = source_path(source, store)
    if not (file := path / "adapter.json").is_file():
        return path.name.removesuffix(".json")
    description = json.loads(file.read_text())
    return description["extra"].get("run") or description["sha256"]


def source_path(source: str, store: str) -> Path:
    """Where an adapter to start from should be; a run may be named alone where it is one of `store`."""
    in_store = Path(store) / "runs" / f"{source}.json"
    return in_store if in_store.is_file() else Path(source).expanduser()


def _typed(parts: dict[str, Any]) -> dict[str, Any]:
    """`parts` with one way to write a number, so that 0 and 0.0 are one run, and without a ratio that steps replace."""
    trainer = {key: float(value) if key in REAL and value is not None else value
               for key, value in parts["trainer"].items()}
    if trainer.get("warmup_steps") is not None:
        trainer["warmup_ratio"] = None
    return parts | {"trainer": trainer, "method": _typed_method(parts["method"])}


def _typed_method(value: Any, key: str = "") -> Any:
    """The fields of a method and of its parts; a number by target has the key of them all."""
    if isinstance(value, dict):
        return {name: _typed_method(each, key if key in WHOLE else name) for name, each in value.items()}
    if key in WHOLE and isinstance(value, float) and value.is_integer():
        return int(value)
    return float(value) if key == "dropout" else value


def _stated(value: Any) -> Any:
    """`value` without keys that are null or false, so that a new option, off, leaves every identity as it was."""
    if not isinstance(value, dict):
        return value
    return {key: _stated(item) for key, item in value.items() if item is not None and item is not False}


def identity(cfg: DictConfig) -> str:
    """sha256 of what can change the result of a run, 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(identity_of(cfg), sort_keys=True).encode()).hexdigest()


def run_name(cfg: DictConfig) -> str:
    """Name of the run of a config, such as mrpc-minilm-lora-seed0-1a2b3c4d."""
    return _name(cfg, identity(cfg))


def _name(cfg: DictConfig, identity: str) -> str:
    words = [cfg.task.name, cfg.model.name, cfg.method.name, f"seed{cfg.seed}", identity[:8]]
    return "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", str(word)) for word in words)
