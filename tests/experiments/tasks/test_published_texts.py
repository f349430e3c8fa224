"""E2E and WebNLG as they are published: their rows, and a run on them."""

import pytest

from experiments.runs.execute import run
from tests.experiments.made import compose
from tests.experiments.tasks.made import make


def test_published_e2e_has_its_rows_and_trains(hub, monkeypatch, tiny_language_run):
    if not (hub / "tuetschek").is_dir():
        pytest.skip("needs E2E in the mirror")
    monkeypatch.setenv("LORA_LAB_HUB", str(hub))
    data = make().load()
    assert (len(data.train), len(data.evaluation["validation"])) == (42061, 4672)
    assert make().pairs(data.train.select([0])) == [(
        "name : The Vaults | Type : pub | price : more than £ 30 | customer rating : 5 out of 5 | near : Café Adriatic",
        ["The Vaults pub near Café Adriatic has a 5 star rating . Prices start at £ 30 ."])]
    monkeypatch.setattr("experiments.tasks.base.Task.load", lambda task: type(data)(
        data.train.select(range(16)), {"validation": data.evaluation["validation"].select(range(8))}))
    assert run(compose(*tiny_language_run, "trainer.max_length=64", "trainer.epochs=1")).status == "done"


def test_published_webnlg_has_its_rows_and_both_kinds_of_categories(hub, monkeypatch):
    if not (hub / "web-nlg").is_dir():
        pytest.skip("needs WebNLG in the mirror")
    monkeypatch.setenv("LORA_LAB_HUB", str(hub))
    task = make(task="webnlg")
    data = task.load()
    assert (len(data.train), {name: len(table) for name, table in data.evaluation.items()}) == (
        6940, {"dev": 872, "test_seen": 971, "test_unseen": 891})
    for name in ("seen", "unseen"):
        assert set(data.evaluation[f"test_{name}"]["test_category"]) == {f"testdata_with_lex_{name}"}
    assert sum(len(references) for _, references in task.pairs(data.train)) == 18025
    assert task.pairs(data.train)[0] == (
        'Aarhus_Airport : cityServed : "Aarhus, Denmark"',
        ["The Aarhus is the airport of Aarhus, Denmark.", "Aarhus Airport serves the city of Aarhus, Denmark."])
    assert len(task.groups(data.train)) == 6940
