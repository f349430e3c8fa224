"""Compose files of conf/ inside a program, also inside one that Hydra runs."""

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf

import experiments.config.resolvers  # noqa: F401  registers ${preset:...}
from experiments.config.plainly import Plainly
from experiments.config.presets import one_row
from experiments.config.search_path import config_file, config_files, search_path
from experiments.store.paths import CONF

Compose = Callable[[list[str]], DictConfig]
CHOSEN = ("model", "task", "method")  # the groups in which the runs of one command differ
DEFAULT = ""  # in place of a choice: that of conf/train.yaml


@contextmanager
def train_configs() -> Iterator["ManyConfigs"]:
    """Compose conf/train.yaml with overrides, also inside a program that Hydra runs; see ManyConfigs."""
    with configs("train") as compose_train:
        yield ManyConfigs(compose_train, together=_choices_stay_in_their_groups())


def _choices_stay_in_their_groups() -> bool:
    """True where no file of an added folder can change what is outside its own group."""
    return not any(re.search("@package|_global_|override", file.read_text())
                   for folder in search_path() for file in folder.rglob("*.yaml"))


class ManyConfigs:
    """Composes many configs that differ in their model, task, method and single keys.

    Hydra takes a fifth of a second for each. So it composes all choices that are to be learnt at once, each under a key
    of its own, and the configs are put together from these. Those with overrides other than `key=value` Hydra composes,
    and all where not `together`: where a file of a choice may change something outside its own group.
    """

    def __init__(self, compose: Compose, together: bool = True) -> None:
        self.compose = compose
        self.together = together
        self.groups: dict[tuple[str, str], Any] = {}  # (group, choice) -> its unresolved content
        self.rest: dict[str, Any] = {}                # the config outside the three groups, by top key
        self.resolved = Plainly()

    def __call__(self, overrides: list[str]) -> DictConfig:
        """The config that Hydra composes with `overrides`."""
        if (content := self._together(overrides)) is None:
            return self.compose(overrides)
        cfg = OmegaConf.create(content)
        OmegaConf.set_struct(cfg, True)
        return cfg

    def plain(self, overrides: list[str]) -> dict[str, Any]:
        """The same config, resolved, as data."""
        content = self._together(overrides)
        resolved = None if content is None else self.resolved(content)
        if resolved is not None:
            return resolved
        with one_row(cfg := self(overrides)):
            return plain_dict(cfg)

    def learn(self, lines: Iterable[list[str]]) -> None:
        """Keep what Hydra composes for the choices of these command lines."""
        choices = dict.fromkeys(choice for overrides in lines for choice in _choices(map(_parsed, overrides)).items())
        if not (new := [choice for choice in choices if choice not in self.groups and _is_file(*choice)]):
            return
        keys = {choice: f"learnt_{number}" for number, choice in enumerate(new) if choice[1] != DEFAULT}
        composed = OmegaConf.to_container(self.compose([f"+{group}@{key}={name}"
                                                        for (group, name), key in keys.items()]))
        assert isinstance(composed, dict)
        self.groups |= {choice: composed.pop(key) for choice, key in keys.items()}
        self.groups |= {(group, DEFAULT): composed.pop(group) for group in CHOSEN}
        self.rest = {str(key): value for key, value in composed.items()}

    def _together(self, overrides: list[str]) -> dict[str, Any] | None:
        """The unresolved config as data; None where it takes Hydra to set a key or to refuse it."""
        parsed = [_parsed(line) for line in overrides]
        choices = _choices(parsed)
        if not self.together or not all(map(_is_plain, parsed)):
            return None
        self.learn([overrides])
        if any(choice not in self.groups for choice in choices.items()):
            return None
        content = self.rest | {group: self.groups[group, name] for group, name in choices.items()}
        for override in parsed:
            if (key := override.key_or_group) not in CHOSEN:
                if not _has_value(content, key):
                    return None
                content = _with(content, key.split("."), override.value())
        return content


def plain_configs(compose: Compose, lines: Sequence[list[str]]) -> list[dict[str, Any]]:
    """The resolved configs of many command lines."""
    if not isinstance(compose, ManyConfigs):
        return [plain_dict(compose(overrides)) for overrides in lines]
    if compose.together:
        compose.learn(lines)
    return list(map(compose.plain, lines))


def _choices(parsed: Iterable[Override]) -> dict[str, str]:
    """The choice of each of the three groups."""
    return dict.fromkeys(CHOSEN, DEFAULT) | {override.key_or_group: str(override.value()) for override in parsed
                                             if override.key_or_group in CHOSEN}


def _is_file(group: str, name: str) -> bool:
    """False for a choice that Hydra would refuse."""
    return name == DEFAULT or name in config_files(group)


def _with(content: dict[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """A copy of `content` with `value` at the path."""
    first, *rest = path
    return content | {first: _with(content[first], rest, value) if rest else value}


def _is_plain(override: Override) -> bool:
    """True for `key=value` with one value."""
    return override.type == OverrideType.CHANGE and override.package is None and not override.is_sweep_override()


def _has_value(content: Any, key: str) -> bool:
    """True where `content` has the dotted key and there a value, not a dictionary or a group."""
    for part in key.split("."):
        if not isinstance(content, dict) or part not in content:
            return False
        content = content[part]
    return not isinstance(content, dict)


@functools.cache
def _parsed(line: str) -> Override:
    return OverridesParser.create().parse_override(line)


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
