"""Compose files of conf/ inside a program, also inside one that Hydra runs."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from experiments.store.paths import CONF
from lora.errors import check_choice

Compose = Callable[[list[str]], DictConfig]


def train_configs() -> AbstractContextManager[Compose]:
    """Compose conf/train.yaml with overrides, also inside a program that hydra runs."""
    return configs("train")


@contextmanager
def configs(name: str) -> Iterator[Compose]:
    """The same of any file of conf/."""
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base=None):
            yield partial(compose, name)
    finally:
        GlobalHydra.instance().hydra = running


def choice(group: str, name: str) -> DictConfig:
    """One choice of a group of conf/ with the files that it is based on, composed alone."""
    with configs(f"{group}/{name}") as compose:
        return OmegaConf.create(OmegaConf.to_container(compose([])[group]))  # type: ignore[return-value]


def check_file(group: str, name: str, where: str = "") -> None:
    """Raise ValueError unless conf/<group> has a file of that name."""
    check_choice(f"{where}{group}", name, [path.stem for path in (CONF / group).glob("*.yaml")])


def plain_dict(node: DictConfig) -> dict[str, Any]:
    """A config as data."""
    plain = OmegaConf.to_container(node, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def run_config(cfg: DictConfig) -> dict[str, Any]:
    """What wandb is told of how an artifact was made."""
    return {key: value for key, value in plain_dict(cfg).items() if key != "logger"}
