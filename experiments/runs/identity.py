"""Identity of a run: a hash of everything in its config that can change the result, and its name."""

import hashlib
import json
import re
from dataclasses import dataclass, replace
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from experiments.config.compose import plain_dict
from experiments.models.files import model_identity
from experiments.runs.code import foreign_code
from experiments.runs.source import source_name
from experiments.store.files import LONGEST


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
# a method's keys that say how large it is, and their letters in a run's name
SIZES = {"rank": "r", "bottleneck": "b", "dropped_layers": "d", "blocks": "top", "l_p": "p", "l_i": "i"}
# numbers that may be written with a point or without; alpha may be one for each target
WHOLE = ("alpha", "init_std", "learning_rate_scale_B")
REAL = ("learning_rate", "warmup_ratio", "weight_decay", "epsilon", "gradient_clip", "label_smoothing")


def identity_of(cfg: DictConfig, without_seed: dict[str, Any] | None = None) -> dict[str, Any]:
    """Everything that can change the result of a run, as data.

    `without_seed` is `identity_without_seed(cfg)` where it is known: runs that differ in the seed and in what they
    start from share it, and it is slow.
    """
    start = {} if cfg.init_from is None else {"init_from": source_name(cfg.init_from, cfg.store)}
    return (identity_without_seed(cfg) if without_seed is None else without_seed) | start | {"seed": cfg.seed}


def identity_without_seed(cfg: DictConfig) -> dict[str, Any]:
    """What a run's identity has but for its seed and what it starts from."""
    trainer, method, task = (plain_dict(cfg[group]) for group in ("trainer", "method", "task"))
    parts = {"model": model_identity(cfg.model), "task": instantiate(cfg.task).identity(), "method": method,
             "trainer": {key: value for key, value in trainer.items() if key not in NOT_IDENTITY}}
    code = foreign_code([method, task])
    return _stated(_typed(parts)) | ({"code": code} if code else {})


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
        return {name: _typed_method(item, key if key in WHOLE else name) for name, item in value.items()}
    if key in WHOLE and isinstance(value, float) and value.is_integer():
        return int(value)
    return float(value) if key == "dropout" else value


def _stated(value: Any) -> Any:
    """`value` without keys that are null or false, so that a new option, off, leaves every identity as it was."""
    if not isinstance(value, dict):
        return value
    return {key: _stated(item) for key, item in value.items() if item is not None and item is not False}


def identity(cfg: DictConfig, without_seed: dict[str, Any] | None = None) -> str:
    """sha256 of everything that can change the result of a run, 64 hexadecimal digits: see `identity_of`."""
    return hashed(identity_of(cfg, without_seed))


def hashed(parts: dict[str, Any]) -> str:
    """sha256 of data, 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def run_name(cfg: DictConfig, without_seed: dict[str, Any] | None = None) -> str:
    """Name of the run of a config, such as mrpc-minilm-lora-r8-qv-seed0-1a2b3c4d: see `name_of`."""
    return name_of(cfg, identity(cfg, without_seed))


def name_of(cfg: DictConfig, identity: str) -> str:
    """Task, model, method with its size and targets, seed, and the first digits of the identity.

    Where this is too long for a file's name, the first words are cut.
    """
    method = plain_dict(cfg.method)
    words = [cfg.task.name, cfg.model.name, cfg.method.name, _size(method), _targets(method), f"seed{cfg.seed}",
             identity[:8]]
    name = "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", str(word)) for word in words if word != "")
    end = f"-seed{cfg.seed}-{identity[:8]}"
    return name if len(name) <= LONGEST else name[:LONGEST - len(end)] + end


def _parts(method: dict[str, Any]) -> list[dict[str, Any]]:
    """The methods that a combined one has, or the method itself."""
    return list(method["parts"].values()) if "parts" in method else [method]


def _size(method: dict[str, Any]) -> str:
    """r8 for a rank of 8, r8_4 for ranks of 8 and 4 by target, p4i2 for l_p=4 and l_i=2; '' for a method without."""
    sizes = [(letter, part[key]) for part in _parts(method) for key, letter in SIZES.items()
             if part.get(key) is not None]
    return "".join(f"{letter}{'_'.join(map(str, size.values())) if isinstance(size, dict) else size}"
                   for letter, size in sizes)


def _targets(method: dict[str, Any]) -> str:
    """qv for targets=[q,v]; names that are longer are joined by _ and cut after 24 letters."""
    targets = [str(target) for part in _parts(method) for target in part.get("targets") or ()]
    return ("_" if any(len(target) > 1 for target in targets) else "").join(targets)[:24]
