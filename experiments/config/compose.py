"""Compose files of conf/ inside a program, also inside one that Hydra runs."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

import experiments.config.resolvers  # noqa: F401  registers ${preset:...}
from experiments.config.search_path import config_file, search_path
from experiments.store.paths import CONF

Compose = Callable[[list[str]], DictConfig]


def train_configs() -> AbstractContextManager[Compose]:
    """Compose conf/train.yaml with overrides, also inside a program that hydra runs."""
    return configs("train")


@contextmanager
def configs(name: str) -> Iterator[Compose]:
    """Compose conf/<name>.yaml with overrides; groups may be files of the running command's added folders."""
    added = ",".join(quoted(f"file://{folder}") for folder in search_path())
    lines = [f"hydra.searchpath=[{added}]"] if added else []
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base=None):
            yield lambda overrides: compose(name, [*lines, *overrides])
    finally:
        GlobalHydra.instance().hydra = running


def choice(group: str, name: str) -> DictConfig:
    """One choice of a group of conf/ with the files that it is based on, composed alone."""
    with configs(f"{group}/{name}") as compose:
        return OmegaConf.create(OmegaConf.to_container(compose([])[group]))  # type: ignore[return-value]


def check_file(group: str, name: str, where: str = "") -> None:
    """Raise ValueError unless conf/<group> or an added folder has a file of that name."""
    config_file(group, name, where=where)


def quoted(value: object) -> str:
    """`value` as text on the right of an override, whatever characters it has."""
    text = re.sub(r"(\\*)('|$)", r"\1\1\2", str(value)).replace("'", r"\'")
    return f"'{text}'"


def plain_dict(node: DictConfig) -> dict[str, Any]:
    """A config as data."""
    plain = OmegaConf.to_container(node, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def run_config(cfg: DictConfig) -> dict[str, Any]:
    """The config of an artifact without its logger: wandb's `config` of the artifact's run."""
    return {key: value for key, value in plain_dict(cfg).items() if key != "logger"}
