"""The adapter that a run starts from, found and identified without torch (experiments.runs.start takes it over)."""

import json
import logging
from contextlib import suppress
from pathlib import Path

from omegaconf import DictConfig

from experiments.store.locate import locate
from experiments.store.store import RunRecord, Store, run_key

log = logging.getLogger(__name__)


def source_name(source: str, store: str) -> str:
    """The name that an identity has for an adapter: the run that made it, or the tensors' sha256 if none did.

    A run has its name, of which a part is its identity, before it is computed, so that what depends on it has too.
    """
    path = source_path(source, store)
    if not (file := path / "adapter.json").is_file():
        return run_key(path.name.removesuffix(".json"))
    description = json.loads(file.read_text())
    run = description["extra"].get("run")
    return run_key(run) if run else description["sha256"]


def source_setting(source: str, store: str) -> str:
    """The setting of the run that made an adapter, so that the sources of two seeds are one; its sha256 without one."""
    path = source_path(source, store)
    if (file := path / "adapter.json").is_file():
        description = json.loads(file.read_text())
        return description["extra"].get("setting") or description["sha256"]
    with suppress(ValueError):  # a broken record, which find_source names
        if (record := Store(path.parent.parent).read(path.stem)) is not None:
            return record.setting
    return path.stem


def source_path(source: str, store: str) -> Path:
    """The adapter's folder or its run's record; a run may be named alone where it is one of `store`."""
    path = Path(source).expanduser()
    if path.parent == Path():
        return Store(store).find(source) or path
    run = path.name.removesuffix(".json")
    return path if path.exists() else Store(path.parent).find(run) or Store(path.parent.parent).find(run) or path


def find_source(cfg: DictConfig) -> Path | None:
    """The folder of the adapter that `cfg` starts from, None for the base model alone.

    FileNotFoundError where there is none; ValueError where its run went wrong.
    """
    if cfg.init_from is None:
        return None
    try:
        folder = locate(source_path(cfg.init_from, cfg.store))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"init_from {cfg.init_from}: {error}") from None
    record = Store(folder.parent.parent).read(folder.name)
    if record is not None and record.status != "done":
        raise ValueError(f"init_from {cfg.init_from}: run {record.run} is {record.status}, not done")
    return folder


def changed_source(record: RunRecord, folder: Path) -> str:
    """The reason why a finished run would differ today: the adapter in `folder`, which it started from, is another.

    '' where it is the same, or not there: a run's name holds the source's name alone (source_name).
    """
    file = folder / "adapter.json"
    if record.init_from is None or not file.is_file():
        return ""
    before, now = record.init_from["sha256"], json.loads(file.read_text())["sha256"]
    if before == now:
        return ""
    return (f"{record.run} started from {record.init_from['run'] or folder} as it was (sha256 {before[:12]}), not as "
            f"it is now ({now[:12]}): train it again with overwrite=true")


def warn_of_changed_source(record: RunRecord, cfg: DictConfig) -> None:
    """Log the reason of changed_source for a run that is done, where the adapter that `cfg` starts from is here."""
    with suppress(FileNotFoundError):
        if cfg.init_from is not None and (why := changed_source(record, locate(source_path(cfg.init_from, cfg.store)))):
            log.warning("%s", why)
