"""Fixtures that every test may use: the shared reference data, skipped where it is absent."""

import functools
import gc
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import omegaconf._utils
import omegaconf.base
import pytest
import yaml
from omegaconf import DictConfig

import experiments.config.resolvers  # noqa: F401  (registers the resolvers that conf/ uses)
from experiments.config.overrides import CommandLine
from experiments.store.paths import CONF

ROOT = Path(__file__).resolve().parent.parent
yaml.SafeLoader = yaml.CSafeLoader  # type: ignore[misc, assignment]  # OmegaConf's: in C, for thousands of compositions
omegaconf.base.parse = omegaconf._utils.parse = functools.cache(omegaconf.base.parse)  # type: ignore[attr-defined]
gc.set_threshold(20_000)  # from 700: the thousands of nodes of a config are no garbage


@pytest.fixture(scope="session", autouse=True)
def choices_composed_once() -> Iterator[None]:
    """What a command line is checked against is one composition for all tests, where all its files are of conf/."""
    compose, made = CommandLine._composed, {}

    def composed(line: CommandLine, *lines: str) -> DictConfig:
        providers = {source.provider for source in line.loader.get_sources()}
        if line.conf != CONF or line.searchpath or "command-line" in providers:
            return compose(line, *lines)
        key = (line.config_name, lines)
        if key not in made:
            made[key] = compose(line, *lines)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CommandLine, "_composed", composed)
        yield


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """A command that runs in a test's process sets up logging to a stream of that test alone."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference data beside the repository (paper tables, oracles, the authors' adapter)."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the shared reference data beside the repository (../shared)")
    return folder


@pytest.fixture(scope="session")
def hub() -> Path:
    """Local mirror of the hub's parquet layout: LORA_LAB_HUB, or ../shared/hub."""
    folder = Path(os.environ.get("LORA_LAB_HUB") or ROOT.parent / "shared" / "hub").resolve()
    if not folder.is_dir():
        pytest.skip("needs a local data mirror (LORA_LAB_HUB or ../shared/hub)")
    return folder
