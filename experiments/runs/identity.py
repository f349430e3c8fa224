"""Identity of a run: a hash of everything in its config that can change the result, and its name."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from experiments.config.compose import plain_dict
from experiments.config.presets import one_row
from experiments.models.files import model_identity
from experiments.runs.code import foreign_code
from experiments.runs.source import source_name, source_setting
from experiments.store.files import LONGEST


@dataclass(frozen=True)
class Run:
    """One seed of a cell: its name in the store, the command line that trains it, the run that it starts from.

    `identity` is all of what the name has the first digits of; '' where it is not known.
    """

    name: str
    seed: int
    overrides: tuple[str, ...]
    source: "Run | None" = None
    identity: str = ""

    def again(self) -> "Run":
        """The same run, computed though it has a record."""
        return replace(self, overrides=(*self.overrides, "overwrite=true"))


Config = DictConfig | Mapping[str, Any]  # composed, or resolved as data
GROUPS = ("model", "trainer", "method", "task")
# keys of conf/trainer that say on what and how visibly a run is computed, not what it computes
NOT_IDENTITY = ("device", "threads", "device_batch_size", "evaluation_batch_size", "compile", "log_every",
                "save_adapter", "save_checkpoints")
# a method's keys that say how large it is, and their letters in a run's name
SIZES = {"rank": "r", "bottleneck": "b", "dropped_layers": "d", "blocks": "top", "l_p": "p", "l_i": "i"}
# numbers that may be written with a point or without; alpha may be one for each target
WHOLE = ("alpha", "init_std", "learning_rate_scale_B")
REAL = ("learning_rate", "warmup_ratio", "weight_decay", "epsilon", "gradient_clip", "label_smoothing")


@dataclass(frozen=True)
class AllSeeds:
    """All that identity and name of a run have but for its seed and what it starts from: slow to find out."""

    facts: dict[str, Any]
    words: list[Any]  # of a run's name, before the seed

    def identity_of(self, cfg: Config) -> dict[str, Any]:
        """Everything that can change the result of a run, as data."""
        start = {} if cfg["init_from"] is None else {"init_from": source_name(cfg["init_from"], cfg["store"])}
        return self.facts | start | {"seed": cfg["seed"]}

    def identity(self, cfg: Config) -> str:
        """sha256 of everything that can change the result of a run, 64 hexadecimal digits."""
        return _hashed(self.identity_of(cfg))

    def setting(self, cfg: Config) -> str:
        """sha256 of what the runs of a line of numbers share: all but the seed, also of what they start from."""
        start = {} if cfg["init_from"] is None else {"init_from": source_setting(cfg["init_from"], cfg["store"])}
        return _hashed(self.facts | start)

    def name(self, cfg: Config) -> str:
        """Task, model, method with its size and targets, seed, and the first digits of the identity.

        Where this is too long for a file's name, the first words are cut.
        """
        return self._name(cfg["seed"], self.identity(cfg))

    def run(self, cfg: Config, overrides: Iterable[str], source: Run | None = None) -> Run:
        """The run of a config, which the command line `overrides` trains."""
        identity = self.identity(cfg)
        return Run(self._name(cfg["seed"], identity), cfg["seed"], tuple(overrides), source, identity)

    def _name(self, seed: int, identity: str) -> str:
        end = f"-seed{seed}-{identity[:8]}"
        start = "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", str(word)) for word in self.words if word != "")
        return start[:LONGEST - len(end)] + end


def _hashed(parts: dict[str, Any]) -> str:
    """sha256 of data, 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def all_seeds(cfg: Config, known: dict[str, Any] | None = None) -> AllSeeds:
    """What the run of a config shares with those of other seeds and starts.

    `known` is kept from run to run where no file changes meanwhile: a model or task that it has is not looked at again.
    """
    if isinstance(cfg, DictConfig):
        with one_row(cfg):
            return all_seeds({group: plain_dict(cfg[group]) for group in GROUPS})
    method = cfg["method"]
    words = [cfg["task"]["name"], cfg["model"]["name"], method["name"], _size(method), _targets(method)]
    return AllSeeds(_facts(cfg, {} if known is None else known), words)


def identity_of(cfg: DictConfig) -> dict[str, Any]:
    """Everything that can change the result of a run, as data."""
    return all_seeds(cfg).identity_of(cfg)


def identity(cfg: DictConfig) -> str:
    """sha256 of everything that can change the result of a run, 64 hexadecimal digits."""
    return all_seeds(cfg).identity(cfg)


def run_name(cfg: DictConfig) -> str:
    """Name of the run of a config, such as mrpc-minilm-lora-r8-qv-seed0-1a2b3c4d: see `AllSeeds.name`."""
    return all_seeds(cfg).name(cfg)


def planned_run(cfg: DictConfig, overrides: Iterable[str]) -> Run:
    """The run of a config, which the command line `overrides` trains."""
    return all_seeds(cfg).run(cfg, overrides)


def _facts(config: Mapping[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    model, trainer, method, task = (config[group] for group in GROUPS)

    def once(function: Callable[[Any], Any], part: Any) -> Any:
        """What the function says of a part of the config, of each content once."""
        if (key := f"{function.__name__} {part!r}") not in known:
            known[key] = function(part)
        return known[key]

    parts = {"model": once(_model, model), "task": once(_task, task), "method": method,
             "trainer": {key: value for key, value in trainer.items() if key not in NOT_IDENTITY}}
    code = once(foreign_code, [method, task])
    return _stated(_typed(parts)) | ({"code": code} if code else {})


def _model(model: dict[str, Any]) -> dict[str, Any]:
    return model_identity(OmegaConf.create(model))


def _task(task: dict[str, Any]) -> dict[str, Any]:
    identity: dict[str, Any] = instantiate(task).identity()
    return identity


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
