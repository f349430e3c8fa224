"""Trainings as processes: killed, resumed, at once on one store, together on one run, badly called."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from experiments import train
from experiments.runs.execute import run
from experiments.runs.identity import run_name
from experiments.store.store import RunRecord, Store
from tests.experiments.made import command, compose, finished


def losses(record: RunRecord | None) -> list[float]:
    assert record is not None
    return [entry["loss"] for entry in record.history]


def last_line(output: str) -> dict:
    return json.loads(output.splitlines()[-1])


def temporary_files(store: Path) -> list[Path]:
    return [path for path in store.rglob("*") if path.name.startswith(".") or path.suffix == ".partial"]


def kill_at_first_checkpoint(process: subprocess.Popen[str], checkpoint: Path) -> None:
    """SIGKILL as soon as the file is there."""
    end = time.monotonic() + 120
    while not checkpoint.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.002)
    process.kill()
    process.communicate()


def test_a_run_killed_with_kill_9_goes_on_to_the_numbers_of_one_that_was_not(
    tiny_run: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dropout = ["method.dropout=0.1", "model.classifier_dropout=0.1", "trainer.epochs=20"]
    cfg = compose(*tiny_run, *dropout)
    process = command(*tiny_run, *dropout)
    kill_at_first_checkpoint(process, Store(cfg.store).checkpoint_folder(run_name(cfg)) / "state.pt")
    assert process.returncode == -signal.SIGKILL
    assert Store(cfg.store).read(run_name(cfg)) is None
    caplog.set_level("INFO")
    resumed = run(cfg)
    assert "resuming after epoch" in caplog.text
    whole = run(compose(*tiny_run, *dropout, f"store={tmp_path / 'whole'}"))
    assert losses(resumed) == losses(whole)
    assert [entry["metrics"] for entry in resumed.history] == [entry["metrics"] for entry in whole.history]
    assert (resumed.score, resumed.best_epoch) == (whole.score, whole.best_epoch)
    tensors = [
        load_file(root / str(whole.adapter) / "adapter.safetensors")
        for root in (tmp_path / "store", tmp_path / "whole")
    ]
    assert tensors[0].keys() == tensors[1].keys()
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


def test_two_sweeps_at_once_one_parallel_compute_each_run_once_and_go_on_past_a_failed_one(
    tiny_run: list[str], tmp_path: Path
) -> None:
    parallel = command("-m", *tiny_run, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2",
                       "trainer.learning_rate=1e30,5e-3,6e-3")
    serial = command("-m", *tiny_run, "trainer.learning_rate=6e-3,5e-3,7e-3")
    ends = [finished(sweep) for sweep in (parallel, serial)]
    assert [code for code, _, _ in ends] == [1, 0], ends[0][2] + ends[1][2]
    first, second = (last_line(output) for _, output, _ in ends)
    assert [made["status"] for made in first["runs"]] == ["failed", "done", "done"]
    assert [made["status"] for made in second["runs"]] == ["done"] * 3
    assert (first["done"], first["failed"]) == (2, 1)
    assert sum("done" in line or "failed" in line for line in ends[0][1].splitlines()[:-1]) == 3
    stored = {record.config["trainer"]["learning_rate"]: record for record in Store(tmp_path / "store").all()}
    assert {rate: record.status for rate, record in stored.items()} == {
        1e30: "failed", 5e-3: "done", 6e-3: "done", 7e-3: "done"}
    assert "loss is nan" in (stored[1e30].error or {})["message"]
    logs = "".join(error for _, _, error in ends)
    for rate in (5e-3, 6e-3):
        assert logs.count(f"{stored[rate].run} trains ") == 1
        assert logs.count(f"{stored[rate].run} is done: this is its stored result") == 1
    assert temporary_files(tmp_path / "store") == []


def test_two_processes_on_one_run_give_the_losses_of_one(tiny_run: list[str], tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m")
    # batches of 5: the last one of an epoch leaves the second process less than the first, 38 = 7 * 5 + 3
    overrides = [*tiny_run, "trainer.batch_size=5", "trainer.device_batch_size=2"]
    code, output, error = finished(command(*overrides, launcher=launcher))
    assert code == 0, error
    (record,) = Store(tmp_path / "store").all()
    assert [json.loads(line)["run"] for line in output.splitlines()] == [
        record.run
    ]  # one process speaks for both
    assert record.device.endswith("x 2")
    alone = run(compose(*overrides, f"store={tmp_path / 'alone'}"))
    assert record.run == alone.run
    torch.testing.assert_close(losses(record), losses(alone), rtol=0, atol=1e-5)
    assert [entry["metrics"] for entry in record.history] == [entry["metrics"] for entry in alone.history]
    tensors = [
        load_file(tmp_path / store / str(record.adapter) / "adapter.safetensors")
        for store in ("store", "alone")
    ]
    torch.testing.assert_close(tensors[0], tensors[1], rtol=0, atol=1e-4)
    assert temporary_files(tmp_path / "store") == []


@pytest.mark.parametrize(("override", "code", "message"), [
    ("model=minlm", 2, "model 'minlm' is not one of .*; did you mean 'minilm'"),
    ("method=loar", 2, "method 'loar' is not one of .*; did you mean 'lora'"),
    ("trainer.learning_rat=1", 2, "did you mean 'trainer.learning_rate'"),
    ("trainer.learning_rate=1e30", 1, "loss is nan at step"),
])
def test_a_bad_command_line_is_one_line_for_people_and_one_for_programs(
    tiny_run: list[str], tmp_path: Path, override: str, code: int, message: str, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train", *tiny_run, override])
    with pytest.raises(SystemExit) as end:
        train.main()
    output, error = capfd.readouterr()
    line = error.splitlines()[-1]
    assert line.startswith("error: ")
    assert re.search(message, line)
    assert end.value.code == code
    assert json.loads(output) == {"status": "failed", "error": line.removeprefix("error: ")}
    assert not (tmp_path / "store" / "adapters").exists()
    assert temporary_files(tmp_path / "store") == []
