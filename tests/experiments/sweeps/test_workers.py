"""Runs in processes apart: a crash stops no other, each has its threads, and company changes no result."""

import sys
from pathlib import Path

import pytest

from experiments.runs.ask import new_record
from experiments.runs.execute import run
from experiments.runs.identity import Run
from experiments.store.store import Store
from experiments.sweeps.workers import train_apart
from tests.experiments.made import compose

ENVIRONMENT = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "MKL_NUM_THREADS",
               "TOKENIZERS_PARALLELISM"]


def python_of(path: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are this shell script, whose $line is the overrides of a run."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_crash_of_one_run_does_not_stop_the_others(
        jobs: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    crash = 'while read line; do case "$line" in *seed=0*) echo why >&2; kill -9 $$;; esac; echo \'""\'; done'
    python_of(tmp_path / "python", crash, monkeypatch)
    runs = [Run(f"run{seed}", seed, (f"seed={seed}",)) for seed in range(4)]
    ended = {f"run{seed}": "" for seed in range(4)} | {"run0": "exit code -9 why" if jobs == 2 else "exit code -9"}
    assert dict(train_apart(runs, jobs)) == ended


@pytest.mark.parametrize(("jobs", "expected"), [(2, ["1"] * 4 + ["false"]), (1, ["7"] * 5)])
def test_runs_side_by_side_have_one_thread_each_and_one_alone_has_what_there_is(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path, jobs: int, expected: list[str]) -> None:
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, "7")
    say = f"read line; echo {' '.join(f'${name}' for name in ENVIRONMENT)} $PWD > '{tmp_path}/said'; echo '\"\"'"
    python_of(tmp_path / "python", say, monkeypatch)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert list(train_apart([Run("run", 0, ())], jobs)) == [("run", "")]
    said = (tmp_path / "said").read_text().split()
    assert said == [*expected, str(tmp_path / "here")]  # from the same folder, so that a relative path means the same


def test_a_worker_goes_on_past_a_run_that_fails_and_its_runs_are_those_of_a_process_each(
        tiny_run: list[str], tmp_path: Path) -> None:
    dropout = ["method.dropout=0.1", "model.classifier_dropout=0.1"]  # which draws from the process's generator
    runs = [Run(name, seed, (*tiny_run, *dropout, f"seed={seed}", *more))
            for name, seed, more in (("first", 0, ()), ("bad", 1, ("method.targets=[none]",)), ("second", 2, ()))]
    problems = dict(train_apart(runs, 1))
    assert [name for name, problem in problems.items() if problem] == ["bad"]
    assert "none" in problems["bad"]
    for seed in (0, 2):
        cfg = compose(*tiny_run, *dropout, f"seed={seed}")
        found = Store(cfg.store).read(new_record(cfg).run)
        assert found is not None
        cfg.store = str(tmp_path / "apart")
        alone = run(cfg)
        assert [epoch["loss"] for epoch in found.history] == [epoch["loss"] for epoch in alone.history]
        assert found.metrics == alone.metrics
