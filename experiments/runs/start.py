"""Starting from what another run trained, its head left out (section 5: MRPC, RTE and STS-B start from MNLI).

The base stays the frozen one: only the adapter's own tensors, and base parameters that the method trains in place,
are taken over.
"""

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from experiments.runs.identity import source_path
from experiments.store.store import RunRecord, Store

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# fields of a method that say how it trains or what it starts from, not what it is
MAY_DIFFER = ("name", "dropout", "learning_rate_scale_B", "init_std")
log = logging.getLogger(__name__)


def find_source(cfg: DictConfig) -> Path | None:
    """The folder of the adapter that `cfg` starts from, None for the base model alone.

    FileNotFoundError where there is none; ValueError where its run went wrong, or another method trained it.
    """
    if cfg.init_from is None:
        return None
    from experiments.store.locate import locate
    from lora.adapter_file import method_of, read_adapter

    try:
        folder = locate(source_path(cfg.init_from, cfg.store))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"init_from {cfg.init_from}: {error}") from None
    description, _ = read_adapter(folder)
    _check_status(cfg.init_from, folder)
    _check_method(cfg.init_from, method_of(description["method"]), instantiate(cfg.method))
    return folder


def changed_source(record: RunRecord, folder: Path) -> str:
    """Why a finished run is not what it would be today: the adapter in `folder`, which it started from, is another.

    '' where it is the same, or not there: a run's name holds the source's name alone
    (experiments.runs.identity.source_name).
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
    """Log what changed_source says of a run that is done, where the adapter that `cfg` starts from is here."""
    from experiments.store.locate import locate

    with suppress(FileNotFoundError):
        if cfg.init_from is not None and (why := changed_source(record, locate(source_path(cfg.init_from, cfg.store)))):
            log.warning("%s", why)


def _check_status(source: str, folder: Path) -> None:
    """ValueError where the store beside the folder has the run, and not as done."""
    record = Store(folder.parent.parent).read(folder.name)
    if record is not None and record.status != "done":
        raise ValueError(f"init_from {source}: run {record.run} is {record.status}, not done")


def _check_method(source: str, theirs: Any, ours: Any) -> None:
    """ValueError naming each difference between two methods that matters to what an adapter is."""
    if type(theirs) is not type(ours):
        raise ValueError(f"init_from {source}: its method is {theirs.name} ({type(theirs).__name__}), "
                         f"this run's is {ours.name} ({type(ours).__name__})")
    there, here = _fields(_plain(theirs.config())), _fields(_plain(ours.config()))
    differing = [key for key in there | here if _matters(key.rpartition(".")[2], there.get(key), here.get(key))]
    kinds = [key for key in differing if key.endswith(".class")]  # of which all other fields are others, too
    if differing:
        said = [f"method.{key} is {there.get(key)!r} there and {here.get(key)!r} here" for key in kinds or differing]
        raise ValueError(f"init_from {source}: {', '.join(said)}")


def _fields(config: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """A method's fields by name, and those of a combined one's parts as parts.lora.rank."""
    found = {f"{before}{key}": value for key, value in config.items() if key != "parts"}
    for word, part in config.get("parts", {}).items():
        found |= _fields(part, f"{before}parts.{word}.")
    return found


def _matters(field: str, there: Any, here: Any) -> bool:
    """Whether an adapter with `there` in this field is none with `here` in it."""
    if there == here or field in MAY_DIFFER:
        return False
    if field == "targets":  # in any order
        return set(there or ()) != set(here or ())
    if field == "init":  # is overwritten, but PiSSA's also stays taken out of the base
        return "pissa" in (there, here)
    return field != "separator" or None not in (there, here)  # null until the method is applied


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """A method's fields, lists and mappings of configuration libraries as json's own."""
    return json.loads(json.dumps(config, default=lambda value: dict(value) if isinstance(value, Mapping)
                                 else list(value)))


def start_from(folder: Path | None, model: "PreTrainedModel", base: str) -> dict[str, Any] | None:
    """Give the active adapter of `model`, whose base is called `base`, the values in `folder`; the head stays new.

    Returns what the run's record says of it. Without a folder nothing changes, and None is returned. ValueError where
    the adapter is of another base model, or does not fit.
    """
    if folder is None:
        return None
    from lora.adapter_file import (
        account,
        adapter_tensors,
        find_adapter,
        fingerprint,
        load_tensors,
        method_of,
        read_adapter,
    )

    description, tensors = read_adapter(folder)
    theirs, trained = description["base"], [*description["in_place"], *description["head"]]
    if (architecture := description["architecture"]) != model.config.model_type:
        raise ValueError(f"{folder} adapts a {architecture} model, {theirs.get('name')}; "
                         f"{base} is a {model.config.model_type}")
    _, entry = find_adapter(model, None)
    _check_method(str(folder), method_of(description["method"]), entry.method)
    own = adapter_tensors(model)
    taken = {key: value for key, value in tensors.items() if key not in description["head"]}
    if fingerprint(model, trained) != theirs["fingerprint"]:
        here = f"those of {base}" if theirs.get("name") != base else "those here: another file, or model.init=random"
        raise ValueError(f"{folder} adapts {theirs.get('name')}, of which the weights are not {here}")
    account(folder, taken, {key: value for key, value in own.items() if key not in entry.head})
    if theirs["fingerprint"] is None and theirs.get("name") != base:  # full fine-tuning leaves no weight to compare
        raise ValueError(f"{folder} adapts {theirs.get('name')}, not {base}")
    load_tensors(model, taken | {key: own[key] for key in entry.head})
    made = {key: description["extra"].get(key) for key in ("run", "task", "score")}
    log.info("starts from %s; the head is new", made["run"] or folder)
    return made | {"sha256": description["sha256"]}
