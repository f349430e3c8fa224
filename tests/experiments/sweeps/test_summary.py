"""A sweep's end: every job accounted for, whichever launcher ran it."""

import json
import os
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from experiments.sweeps import summary as sweep
from experiments.tables import text
from experiments.training import hardware
from tests.experiments.config.made import run_app

OFF = "logger.wandb.mode=disabled"


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_failed_job_does_not_stop_the_others(app: Path, launcher: str) -> None:
    if launcher == "joblib":
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    done = run_app(app, "-m", "seed=13,14,15,16", "method=lora,ft", f"hydra/launcher={launcher}", OFF)
    assert done.returncode == 1, done.stderr
    *above, last = done.stdout.splitlines()
    record = json.loads(last)
    assert (record["done"], record["failed"], record["collapsed"]) == (4, 2, 2)
    order = [(run["swept"]["seed"], run["swept"]["method"]) for run in record["runs"]]
    assert order == [(seed, method) for seed in ("13", "14", "15", "16") for method in ("lora", "ft")]
    assert record["runs"][0]["error"] == "seed 13 is unlucky"
    assert any("run-16" in line and "80.50" in line for line in above)
    assert "seed 13 is unlucky" in done.stderr
    assert [path.name for path in (app / "elsewhere").iterdir()] == ["results"]


def test_a_sweep_that_left_no_job_has_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another sweeper than Hydra's own may start none."""
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    with pytest.raises(SystemExit) as end:
        sweep.Summary().on_multirun_end(config)
    assert end.value.code == 1
    error = "the sweep has no runs: a key's list of values is empty"
    assert json.loads(capsys.readouterr().out) == {"status": "failed", "error": error}
    assert list(tmp_path.iterdir()) == []


def test_a_single_run_has_all_cores_up_to_omp_num_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert hardware.threads_for_this_process() == 8
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert hardware.threads_for_this_process() == 3


def test_a_small_model_has_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert hardware.threads_for_this_process(1_000_000) == 1
    assert hardware.threads_for_this_process(125_000_000) == 8


def test_jobs_are_counted_as_joblib_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: 8)
    assert [hardware.parallel_jobs(jobs) for jobs in (1, 3, -1, -2, -99)] == [1, 3, 8, 7, 1]
    with pytest.raises(ValueError, match="jobs 0 is not a whole number from 1"):
        hardware.parallel_jobs(0)


@pytest.mark.parametrize(("jobs", "expected"), [(1, 8), (2, 4), (3, 2), (-1, 1)])
def test_a_job_of_a_sweep_shares_the_cores_with_those_beside_it(
    monkeypatch: pytest.MonkeyPatch, jobs: int, expected: int
) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", OmegaConf.create(
        {"hydra": {"mode": RunMode.MULTIRUN, "launcher": {"n_jobs": jobs}}}))
    assert hardware.parallel_jobs(-1) == expected
    assert hardware.threads_for_this_process() == expected
    assert hardware.parallel_jobs(5) == 5  # a number that is stated is kept


@pytest.mark.parametrize(("threads", "parameters", "taken", "tokenizers"), [
    (None, 1_000_000, 1, "false"), (None, 125_000_000, 2, None), (1, 125_000_000, 1, "false"), (2, 1_000_000, 2, None)])
def test_a_process_of_one_thread_has_tokenizers_of_one_thread(
    monkeypatch: pytest.MonkeyPatch, threads: int | None, parameters: int, taken: int, tokenizers: str | None
) -> None:
    set_to: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", set_to.append)
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "")  # so that it is put back
    monkeypatch.delenv("TOKENIZERS_PARALLELISM")
    assert hardware.take_threads(threads, parameters) == taken
    assert set_to == [taken]
    assert os.environ.get("TOKENIZERS_PARALLELISM") == tokenizers


@pytest.mark.parametrize(("record", "status"), [
    ({"failed": 2}, "failed"), ({"failed": ["a run"]}, "failed"), ({"failed": 0}, "done"), ({"failed": []}, "done"),
    ({"status": "collapsed"}, "collapsed")])
def test_a_job_with_failed_parts_has_failed(record: dict[str, object], status: str) -> None:
    found = sweep.summarize([{"job": 0, "overrides": [], "record": record}])
    assert found["runs"][0]["status"] == status
    assert {key: found[key] for key in ("done", "failed", "collapsed")} == {
        key: int(key == status) for key in ("done", "failed", "collapsed")}


def test_a_sweep_with_failed_gates_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, failed in enumerate((0, 3)):
        job = {"job": number, "overrides": [f"model={number}"], "record": {"model": str(number), "failed": failed}}
        (tmp_path / f"job{number}.json").write_text(json.dumps(job))
    with pytest.raises(SystemExit) as ended:
        sweep.Summary().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (ended.value.code, record["done"], record["failed"]) == (1, 1, 1)


def test_a_summary_tells_runs_apart_by_what_was_swept() -> None:
    done, failed = {"run": "a", "status": "done"}, {"status": "failed", "error": "no"}
    jobs = [
        {"job": 0, "overrides": ["task=mrpc", "++files.a=[q,v]"], "record": done},
        {"job": 1, "overrides": ["task=mrpc", "++files.a=[q]"], "record": failed},
    ]
    record = sweep.summarize(jobs)
    assert [run["swept"] for run in record["runs"]] == [{"files.a": "[q,v]"}, {"files.a": "[q]"}]
    columns, rows = sweep.table_rows(record["runs"])
    assert columns == ["run", "files.a", "status", "score", "trainable", "seconds"]
    assert rows[1] == [None, "[q]", "failed", None, None, None]


def test_values_in_brackets_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    text.print_rows(["method.targets"], [["[q,v]"], ["[q]"]])
    printed = capsys.readouterr().out
    assert "[q,v]" in printed
    assert "[q]" in printed


def test_a_sweep_whose_end_fails_says_so_in_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(sweep, "read_jobs", fail)
    with pytest.raises(SystemExit) as ended:
        sweep.Summary().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    printed = capsys.readouterr()
    assert ended.value.code == 1
    assert json.loads(printed.out) == {"status": "failed", "error": "no space left"}
    assert printed.err == "error: no space left\n"


def test_parallel_jobs_share_the_cores_and_leave_one_wandb_run_with_their_table(app: Path) -> None:
    joblib = pytest.importorskip("joblib")
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    pytest.importorskip("wandb")
    parallel = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    done = run_app(app, "-m", "seed=1,2", *parallel, OMP_NUM_THREADS="64")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout.splitlines()[-1])
    assert (record["done"], record["failed"]) == (2, 0)
    assert [run["threads"] for run in record["runs"]] == [max(1, joblib.cpu_count() // 2)] * 2
    folder = app / "elsewhere" / "results" / "local" / "sweeps"
    assert len(list(folder.glob("*/wandb/offline-run-*/*.wandb"))) == 1, done.stderr
    (table,) = folder.glob("*/wandb/offline-run-*/files/media/table/runs*.json")
    assert [row[0] for row in json.loads(table.read_text())["data"]] == ["run-1", "run-2"]


def test_a_sweeps_table_shows_a_loss_with_four_decimals(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [{"run": name, "swept": {}, "status": "done", "score": score, "main_metric": metric}
            for name, score, metric in (("a", 1.23456, "loss"), ("b", 86.523, "accuracy"), ("c", None, "loss"))]
    sweep.print_table(runs)
    lines = [line for line in capsys.readouterr().out.splitlines() if "done" in line]
    assert [word for word, line in zip(("1.2346", "86.52", "-"), lines, strict=True) if word in line.split()] == [
        "1.2346", "86.52", "-"]
    assert sweep.table_rows(runs)[1][0][2] == 1.23456  # wandb gets numbers
