"""An artifact of the paper: a table or a figure, from conf/artifact/<name>.yaml.

The file says of what kind it is and maps a CSV of conf/paper to configs. Each kind (experiments.artifacts.kinds) adds
fields of its own to `Artifact`; `read_config` makes one of a composed config.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any, TypeVar

import pandas as pd
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.config.compose import plain_dict
from experiments.config.search_path import config_file
from lora.errors import check_choice, nearest

Typed = TypeVar("Typed")
PrintedRow = Mapping[str, str]  # a row of a CSV of conf/paper, as text


@dataclass(frozen=True)
class Artifact:
    """The fields that every kind of artifact has."""

    name: str
    kind: str   # of experiments.artifacts.kinds
    title: str


def read_config(to: type[Typed], config: Any, file: str) -> Typed:
    """`to` with the values of a config; ValueError naming `file` for a key that is unknown, missing or ill-typed.

    Of a field's metadata, `key: False` says that the file does not have it, and `of` the dataclass of its value.
    """
    values: dict[str, Any] = plain_dict(config) if isinstance(config, DictConfig) else {**config}
    known = {field.name: field for field in fields(to)  # type: ignore[arg-type]
             if field.metadata.get("key", True)}
    for key in values:
        check_choice(f"{file}: key", key, known)
    needed = [name for name, field in known.items() if field.default is MISSING and field.default_factory is MISSING]
    for key in needed:
        if key not in values:
            raise ValueError(f"{file} lacks the key {key!r}; it needs {', '.join(needed)}{nearest(key, list(values))}")
    parts = {key: read_config(known[key].metadata["of"], values.pop(key), f"{file}: {key}")
             for key in list(values) if "of" in known[key].metadata and values[key] is not None}
    typed = OmegaConf.structured(to)
    OmegaConf.set_readonly(typed, False)
    try:
        for key, value in values.items():
            typed[key] = value
    except OmegaConfBaseException as error:
        raise ValueError(f"{file}: {key}: {str(error).splitlines()[0]}") from None
    made: Any = OmegaConf.to_object(typed)
    return replace(made, **parts)  # type: ignore[no-any-return]


def read_artifact(to: type[Typed], cfg: DictConfig) -> Typed:
    """The artifact of conf/paper.yaml."""
    return read_config(to, cfg.artifact, f"artifact/{cfg.artifact.get('name', '?')}.yaml")


def read_rows(paper: str) -> list[dict[str, str]]:
    """The rows of a CSV of conf/paper as text; ValueError for an unknown file."""
    frame = pd.read_csv(config_file("paper", paper, ".csv"), dtype=str, keep_default_na=False)
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def yaml_word(value: Any) -> str:
    """A YAML value as a command line writes it."""
    return "null" if value is None else str(value)
