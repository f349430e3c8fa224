"""The folders that hold configuration: the shipped conf/, and those that --config-dir or hydra.searchpath add.

An environment variable carries the added folders, so that the processes which a command starts use them too.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from hydra.conf import ConfigSourceInfo
from hydra.core.utils import env_override

from experiments.store.paths import CONF
from lora.errors import check_choice

VARIABLE = "LORA_LAB_CONFIG_DIRS"


def search_path() -> list[Path]:
    """The added folders of the running command; empty outside of one."""
    return [Path(folder) for folder in json.loads(os.environ.get(VARIABLE) or "[]")]


@contextmanager
def searching(added: Sequence[Path]) -> Iterator[None]:
    """Use these added folders in this process and in those that it starts."""
    with env_override({VARIABLE: json.dumps(list(map(str, added)))}):  # a folder's name may have any separator
        yield


def config_files(group: str, suffix: str = ".yaml") -> dict[str, Path]:
    """The files of a group by name, shipped and added."""
    paths = [path for folder in (CONF, *search_path()) for path in sorted((folder / group).glob(f"*{suffix}"))]
    return {path.stem: path for path in paths}


def config_file(group: str, name: str, suffix: str = ".yaml", where: str = "") -> Path:
    """The file `name` of a group; ValueError where neither conf/ nor an added folder has it."""
    paths = config_files(group, suffix)
    check_choice(f"{where}{group}", name, paths)
    return paths[name]


def added_folders(sources: Sequence[ConfigSourceInfo]) -> list[Path]:
    """The folders among the sources of a composed config (hydra.runtime.config_sources) that a user added."""
    added = []
    for source in sources:
        if source.provider not in ("hydra", "main", "schema"):
            folder = Path(str(files(source.path))) if source.schema == "pkg" else Path(source.path).expanduser()
            added.append(folder.resolve())
    return added


def check_added(added: Sequence[Path], conf: Path) -> None:
    """Raise ValueError for an added folder that does not exist, or that has a file of a shipped name."""
    shipped = [path.relative_to(conf) for suffix in ("yaml", "csv") for path in sorted(conf.rglob(f"*.{suffix}"))]
    for folder in added:
        if not folder.is_dir():
            raise ValueError(f"config folder {folder} does not exist")
        taken = [str(path) for path in shipped if (folder / path).is_file()]
        if taken and not folder.samefile(conf):
            raise ValueError(f"config folder {folder}: {', '.join(taken)} is the name of a shipped file; rename yours")
