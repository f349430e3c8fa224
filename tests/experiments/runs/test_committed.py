"""Every record that is committed is found by the run of its config, so that none is computed again."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from experiments.runs import identity
from experiments.store.paths import ROOT
from experiments.store.store import Store

STORES = sorted({path.parent.parent for path in (ROOT / "results").glob("**/runs/*.json")
                 if "local" not in path.relative_to(ROOT / "results").parts})
MOVED = {"experiments.data.HubSource": "experiments.tasks.data.HubSource"}  # a class that older configs name
ADDED = ("model.dropout", "task.separator", "init_from")  # keys that older configs lack, where they are null
OF_ALL_SEEDS = ("model", "trainer", "method", "task")


def remembered(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`function` of a part of a config, called once for each content."""
    by_content = functools.cache(lambda content: function(OmegaConf.create(json.loads(content))))
    return lambda part: by_content(json.dumps(OmegaConf.to_object(part) if OmegaConf.is_config(part) else part,
                                              sort_keys=True))


def completed(config: dict[str, Any]) -> dict[str, Any]:
    """A record's config with the keys that came later, and the classes where they are now."""
    text = json.dumps(config)
    for before, now in MOVED.items():
        text = text.replace(f'"{before}"', f'"{now}"')
    config = json.loads(text)
    for group, _, key in (line.rpartition(".") for line in ADDED):
        (config[group] if group else config).setdefault(key, None)
    return config


@pytest.mark.parametrize("folder", STORES, ids=lambda folder: folder.relative_to(ROOT).as_posix())
def test_every_committed_record_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("model_identity", "instantiate"):
        monkeypatch.setattr(identity, name, remembered(getattr(identity, name)))
    all_seeds = remembered(identity.all_seeds)
    store, other = Store(folder), []
    for path in sorted((folder / "runs").glob("*.json")):
        record = json.loads(path.read_text())
        config = completed(record["config"])
        of_all = all_seeds({group: config.pop(group) for group in OF_ALL_SEEDS})
        one = OmegaConf.create(config)
        if of_all.identity(one) != record["identity"] or store.find(of_all.name(one)) != path:
            other.append(path.stem)
    assert other == []
