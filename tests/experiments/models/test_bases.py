"""The base that a study reads is the adapter's own, or is said to be another."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.adapters.read import AdapterUpdates, read_updates
from experiments.models.bases import needed_base, open_base
from tests.analysis.made import base, by_peft, layouts


@pytest.fixture
def adapter(tmp_path: Path) -> AdapterUpdates:
    """Of a RoBERTa that is called org/tiny."""
    found = read_updates(layouts(tmp_path)["ours"])
    return replace(found, base={**found.base, "name": "org/tiny"})


@pytest.mark.parametrize(("config", "said"), [
    ({"model_type": "bert"}, "is of a 'roberta' model, and {} says 'bert'"),
    ({"model_type": "roberta", "_name_or_path": "org/other"}, "is of 'org/tiny', and {} says 'org/other'"),
    ({"model_type": "roberta", "_name_or_path": "tiny"}, None),
    ({"_name_or_path": str(Path("checkpoint-1").absolute())}, None),
    ({"model_type": "roberta"}, None), (None, None)])
def test_a_path_is_told_by_its_config(config: dict[str, Any] | None, said: str | None, adapter: AdapterUpdates,
                                      tmp_path: Path):
    (folder := tmp_path / "model").mkdir()
    file = base(folder / "model.safetensors", layers=2, d=16)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    for path in (folder, file):
        weights, problems = open_base(str(path), adapter)
        assert weights is not None
        assert [each.message for each in problems] == (
            [f"{adapter.source} {said.format(folder / 'config.json')}"] if said else [])


def test_a_model_of_conf_is_told_by_its_name(adapter: AdapterUpdates):
    [problem] = open_base("roberta-nano", adapter)[1]
    assert str(problem) == f"base model: {adapter.source} is of 'org/tiny', not 'roberta-nano'"
    assert open_base("roberta-nano", replace(adapter, base={"name": "x/roberta-nano"}))[1] == []


def test_the_architecture_of_a_peft_folder_is_that_of_its_mapping(tmp_path: Path):
    by_peft("roberta", tmp_path, ["query"])
    assert read_updates(tmp_path).base["architecture"] == "roberta"


def test_a_base_that_nobody_names_is_none_or_asked_for(adapter: AdapterUpdates):
    assert open_base(None, adapter) == (None, [])
    with pytest.raises(ValueError, match=r"names 'org/tiny', which is not on this machine: base=<name in conf/model"):
        needed_base(None, adapter)
