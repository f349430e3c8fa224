"""A set of runs is there afterwards: what is missing is trained, in order, and nothing else."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.runs.identity import Run
from experiments.store.store import RunRecord, Store
from experiments.sweeps.ensure import ensure, lots, time_left


def stored(store: Store, name: str, status: str = "done", adapter: bool = False) -> None:
    kept = f"adapters/{name}" if status == "done" else None
    if adapter:
        store.adapter_folder(name).mkdir(parents=True)
    error = {"message": "out of memory"} if status == "failed" else None
    store.write(RunRecord(run=name, identity="", status=status, config={}, seed=0, adapter=kept, error=error))


def run(name: str, source: Run | None = None) -> Run:
    return Run(name, 0, (f"name={name}",), source)


class Trainer:
    """Keeps every run that it is given as done, with an adapter, unless its name is `bad`."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.given: list[list[str]] = []

    def __call__(self, runs: list[Run], jobs: int) -> Iterator[tuple[str, str]]:
        self.given.append([each.name + " again" * ("overwrite=true" in each.overrides) for each in runs])
        for each in runs:
            if each.name != "bad":
                self.store.adapter_folder(each.name).mkdir(parents=True, exist_ok=True)
                stored(self.store, each.name)
            yield each.name, "exit code -9" if each.name == "bad" else ""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def train(store: Store) -> Trainer:
    return Trainer(store)


def test_a_record_of_another_identity_with_the_same_digits_is_named_and_left(store: Store, train: Trainer) -> None:
    """A run's name has 8 of the 64 digits."""
    ours, theirs = "ab" * 32, "ab" * 4 + "cd" * 28
    for name in ("same", "other"):
        identity = ours if name == "same" else theirs
        store.write(RunRecord(run=name, identity=identity, status="done", config={}, seed=0))
    runs = [replace(run(name), identity=ours) for name in ("same", "other")]
    records, problems = ensure(runs, store, 1, train)
    assert (records.keys(), train.given) == ({"same"}, [])
    assert problems["other"].endswith(f"begins with the same digits: {theirs}, not {ours}; use another store")


def test_what_is_missing_or_failed_is_trained_once_and_read_again(store: Store, train: Trainer) -> None:
    for name, status in (("done", "done"), ("flat", "collapsed"), ("gone", "failed")):
        stored(store, name, status)
    records, problems = ensure([run(name) for name in ("done", "flat", "gone", "new", "new", "bad")], store, 1, train)
    assert train.given == [["gone", "new", "bad"]]
    assert records.keys() == {"done", "flat", "gone", "new"}
    assert problems == {"bad": "exit code -9"}


def test_without_training_the_store_is_read_and_what_failed_says_why(store: Store, train: Trainer) -> None:
    stored(store, "gone", "failed")
    assert ensure([run("gone"), run("new")], store, 1, None) == ({}, {"gone": "out of memory"})
    assert train.given == []


def test_only_what_is_asked_for_is_trained(store: Store, train: Trainer) -> None:
    ensure([run("one"), run("other")], store, 1, train, asked=["other"])
    assert train.given == [["other"]]


def test_a_source_is_trained_before_what_starts_from_it_and_again_where_its_adapter_is_gone(
    store: Store, train: Trainer
) -> None:
    stored(store, "recorded")
    first, recorded = run("first"), run("recorded")
    records, _ = ensure([run("a", first), run("b", recorded)], store, 1, train)
    assert train.given == [["first", "recorded again"], ["a", "b"]]
    assert records.keys() == {"a", "b", "first", "recorded"}


def test_a_run_without_its_adapter_is_trained_again_where_adapters_are_asked_for(store: Store, train: Trainer) -> None:
    stored(store, "whole", adapter=True)
    stored(store, "bare")
    stored(store, "bad")
    runs = [run("whole"), run("bare"), run("bad")]
    assert ensure(runs, store, 1, train)[1] == {}
    assert train.given == []
    records, problems = ensure(runs, store, 1, train, adapters=True)
    assert train.given == [["bare again", "bad again"]]
    assert problems == {"bad": "exit code -9"}
    assert records.keys() == {"whole", "bare", "bad"}


def test_a_record_that_cannot_be_read_is_never_trained_over(store: Store, train: Trainer) -> None:
    stored(store, "odd")
    store.path("odd").write_text("{")
    records, problems = ensure([run("odd")], store, 1, train)
    assert (records, train.given) == ({}, [])
    assert problems["odd"].startswith("unreadable: ")


def test_progress_counts_all_lots_and_tells_the_time_left(
    store: Store, train: Trainer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "experiments")
    ensure([run("a", run("first")), run("bad")], store, 1, train)
    lines = [line.getMessage().split(", ")[0] for line in caplog.records]
    assert lines == ["3 runs to train", "1 of 3: first done", "2 of 3: bad exit code -9", "3 of 3: a done"]
    assert [time_left(seconds) for seconds in (0, 40, 720, 9000)] == [
        "", ", 40 s left", ", 12 min left", ", 2.5 h left"]


def test_a_store_that_cannot_be_written_is_named_before_any_training(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file")
    train = Trainer(store)
    with pytest.raises(OSError, match="file"):
        ensure([run("new")], store, 1, train)
    assert train.given == []


def test_lots_put_sources_first() -> None:
    mnli, done = run("mnli"), run("done", run("elsewhere"))
    rte = run("rte", mnli)
    assert lots([rte, mnli, done]) == [[mnli, done], [rte]]
    assert lots([]) == []


def test_problems_are_in_the_order_of_the_runs_whichever_ended_first(store: Store) -> None:
    first, source = run("first"), run("source")
    runs = [first, run("second", source), run("third")]

    def train(asked: list[Run], jobs: int) -> Iterator[tuple[str, str]]:
        yield from ((each.name, "killed") for each in reversed(asked))

    records, problems = ensure(runs, store, 2, train)
    assert records == {}
    assert list(problems) == ["first", "second", "third", "source"]
