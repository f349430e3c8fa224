"""The table of a model's sweep: what is swept later joins it, and nothing that it tells is lost."""

import re
from pathlib import Path

import pytest

from experiments.sweeps import rates
from tests.experiments.sweeps.made import SMALL, composed, configured, fake_run, keep_all, no_training, read_only

TASKS = ["cola-nano", "rte-nano"]


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "planned_run", fake_run)


def test_a_later_sweep_joins_the_table_and_replaces_the_settings_that_it_has(tmp_path: Path) -> None:
    keep_all(tmp_path, "ft", {"0.0001": [50.0, 60.5], "0.0002": [1.0, "collapsed"], "0.0004": [2.0, None]}, TASKS)
    keep_all(tmp_path, "lora1", {"0.001": [1.0, 1.0], "0.002": [2.0, 2.0], "0.005": [3.0, 3.0]}, TASKS)
    keep_all(tmp_path, "lora8", {"0.001": [3.0, 3.0], "0.002": [2.0, 2.0], "0.005": [1.0, 1.0]}, TASKS)
    files = [tmp_path / "tables" / f"roberta-nano.{suffix}" for suffix in ("csv", "md")]
    read_only(tmp_path, *SMALL)
    whole = [file.read_text() for file in files]
    read_only(tmp_path, *SMALL, "~rates.ft", "ranks=[8]")
    assert [file.read_text() for file in files] == whole
    read_only(tmp_path, *SMALL, "~rates.ft", "ranks=[1]", "rates.lora=[1e-3,2e-3]")
    (csv, _), (before, _) = [file.read_text().splitlines() for file in files], [text.splitlines() for text in whole]
    assert sorted(csv) == sorted([*(line for line in before if not line.startswith("lora,1,")),
                                  "lora,1,1e-3,1.0,1.0,1.0,", 'lora,1,2e-3,2.0,2.0,2.0,"chosen, edge"'])


def test_a_table_over_other_tasks_is_refused_before_any_training(tmp_path: Path) -> None:
    read_only(tmp_path, *SMALL)
    with pytest.raises(ValueError, match=re.escape("is of a sweep over cola-nano, rte-nano, not over rte-nano")):
        rates.report(configured(tmp_path, *SMALL, "tasks=[rte-nano]"), ["model=roberta-nano"], composed, no_training)


@pytest.mark.parametrize(("override", "key"), [
    ("model.dropout=0.3", "model.dropout"), ("seed=5", "seed"), ("preset=default", "preset"),
    ("model.init=random", "model.files, model.init, model.config")])
def test_rows_of_another_model_seed_or_preset_are_refused_before_any_training(
        tmp_path: Path, override: str, key: str) -> None:
    read_only(tmp_path, *SMALL)
    other = configured(tmp_path, *SMALL, "~rates.ft", override)
    with pytest.raises(ValueError, match=re.escape(f"has rows of ft from a sweep with another {key}: take")):
        rates.report(other, ["model=roberta-nano"], composed, no_training)


def test_a_name_of_a_model_names_no_other_folder(tmp_path: Path) -> None:
    last = read_only(tmp_path / "store", *SMALL, "model.name='../../модель/a'")
    assert {Path(file).parent for file in last["files"]} == {tmp_path / "store" / "tables"}
