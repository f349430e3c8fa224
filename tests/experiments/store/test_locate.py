"""An adapter is found by its folder, by its run's record and by its run's name; else the message says why not."""

from pathlib import Path

import pytest

from experiments.store.locate import locate
from experiments.store.store import RunRecord, Store
from tests.analysis.made import ours


def in_store(root: Path, status: str = "done", keep: bool = True) -> RunRecord:
    record = RunRecord(run="rte-tiny-lora-seed0-1a2b3c4d", identity="", status=status, config={}, seed=0)
    if keep:
        folder = ours("bert", Store(root).adapter_folder(record.run))
        record.adapter = str(folder.relative_to(root))
    Store(root).write(record)
    return record


def test_a_run_is_found_by_its_record_and_by_its_name(tmp_path: Path):
    run = in_store(tmp_path).run
    folder = tmp_path / "adapters" / run
    for source in (folder, tmp_path / "runs" / f"{run}.json", tmp_path / run, tmp_path / "runs" / run):
        assert locate(source) == folder


def test_an_older_record_is_found_by_the_name_that_its_run_has_now(tmp_path: Path):
    folder = tmp_path / "adapters" / in_store(tmp_path).run
    run = "rte-tiny-lora-r8-qv-seed0-1a2b3c4d"
    for source in (tmp_path / run, tmp_path / "adapters" / run, tmp_path / "runs" / f"{run}.json"):
        assert locate(source) == folder


def test_a_run_without_its_adapter_says_why(tmp_path: Path):
    run = in_store(tmp_path / "failed", "failed", keep=False).run
    with pytest.raises(FileNotFoundError, match=r"run rte-tiny\S* of \S*failed \(failed\) kept no adapter"):
        locate(tmp_path / "failed" / run)
    folder = tmp_path / "moved" / str(in_store(tmp_path / "moved").adapter)
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"kept its adapter in \S*adapters/rte-tiny\S*, which is not there"):
        locate(tmp_path / "moved" / run)
    with pytest.raises(FileNotFoundError, match=r"no adapter and no run at \S*4e; did you mean '\S*1a2b3c4d'"):
        locate(tmp_path / "moved" / "rte-tiny-lora-seed0-1a2b3c4e")


def test_many_runs_are_found_by_one_look_at_the_folder(tmp_path: Path) -> None:
    older, newer, store = "rte-tiny-lora-seed0-1a2b3c4d", "rte-tiny-lora-r8-qv-seed1-5e6f7a8b", Store(tmp_path)
    for run in (older, newer, "rte-tiny-ft-seed0-1a2b3c4d"):
        store.write(RunRecord(run=run, identity="", status="done", config={}, seed=0))
    asked = ["rte-tiny-lora-r8-qv-seed0-1a2b3c4d", newer, "rte-tiny-bitfit-seed0-1a2b3c4d"]
    assert store.find_all(asked) == {asked[0]: store.path(older), newer: store.path(newer)}
    assert [store.find(run) for run in asked] == [store.path(older), store.path(newer), None]
