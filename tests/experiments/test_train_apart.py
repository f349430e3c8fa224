"""Runs of a table as processes of their own: a crash stops no other, and each has its threads."""

import sys

import pytest

from experiments import paper


def test_a_crash_of_one_run_does_not_stop_the_others(monkeypatch, tmp_path):
    script = tmp_path / "python"
    script.write_text('#!/bin/sh\ncase "$*" in *seed=0*) echo why >&2; kill -9 $$;; *) exit 0;; esac\n')
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    runs = [paper.Run(f"run{seed}", seed, (f"seed={seed}",)) for seed in range(3)]
    assert paper.train_apart(runs, 2) == {"run0": "exit code -9 why"}


@pytest.mark.parametrize(("jobs", "expected"), [(2, ["1"] * 4 + ["false"]), (1, ["7"] * 5)])
def test_runs_side_by_side_have_one_thread_each_and_one_alone_has_what_there_is(monkeypatch, tmp_path, jobs, expected):
    names = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "MKL_NUM_THREADS",
             "TOKENIZERS_PARALLELISM"]
    for name in names:
        monkeypatch.setenv(name, "7")
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\necho {' '.join(f'${name}' for name in names)} $PWD > '{tmp_path}/said'\n")
    script.chmod(0o755)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "executable", str(script))
    assert paper.train_apart([paper.Run("run", 0, ())], jobs) == {}
    said = (tmp_path / "said").read_text().split()
    assert said == [*expected, str(tmp_path / "here")]  # from the same folder, so that a relative path means the same
