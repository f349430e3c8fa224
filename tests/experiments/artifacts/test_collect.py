"""Missing runs are counted for people, and told from models and tasks that a suite does not have."""

from experiments.store.store import Store
from tests.experiments.artifacts.made import read_only, record


def test_missing_runs_are_counted_for_people_and_an_empty_store_is_no_empty_suite(tmp_path, fake_runs, capsys):
    for seed in (0, 1):
        for task in ("mrpc", "rte"):
            Store(tmp_path).write(record(f"{task}-minilm-lora-minilm-seed{seed}"))
    last = read_only(tmp_path, fake_runs, "methods=[lora]")
    assert len(last["missing"]) == 2
    assert "2 of 6 runs are missing: seed 2" in capsys.readouterr().out
    read_only(tmp_path / "other", fake_runs, "empty=false")
    assert "no run of suite minilm is in the store yet" in capsys.readouterr().out
    read_only(tmp_path / "other", fake_runs, "empty=false", "suite.methods=[]")
    assert "suite minilm has no model, task and method for any row" in capsys.readouterr().out
