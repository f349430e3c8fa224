"""What people read has names; what programs read has ids."""

import csv

import pytest
from omegaconf import OmegaConf

from experiments.store.paths import CONF
from experiments.tables import names
from experiments.tables.names import display_name, display_names


@pytest.mark.parametrize("group", ["model", "method", "task"])
def test_every_model_method_and_task_has_a_display_name(group: str) -> None:
    ids = {path.stem for path in (CONF / group).glob("*.yaml") if not path.stem.startswith("_")}
    assert ids <= display_names().keys()


def test_every_model_method_and_task_of_the_paper_has_one() -> None:
    for path in (CONF / "paper").glob("*.csv"):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        for column in ("model", "method", "task"):
            assert {row[column] for row in rows if column in row} <= display_names().keys(), path


def test_an_id_without_a_name_shows_itself() -> None:
    assert (display_name("adapter_h"), display_name("my_method")) == ("AdapterH", "my_method")


@pytest.mark.parametrize(("text", "message"), [
    ("models: {a: A}\ntasks: {a: B}", "'a' has two names, 'A' and 'B'"),
    ("modles: {a: A}", "kind of names 'modles' is not one of .*; did you mean 'models'"),
])
def test_a_wrong_file_of_names_is_refused(text: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names.OmegaConf, "load", lambda path: OmegaConf.create(text))
    with pytest.raises(ValueError, match=message):
        display_names.__wrapped__()
