"""Asking for a run: the store's answer and refusals need no torch, and a preset is read once."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from experiments.runs.ask import asked, new_record
from experiments.runs.execute import run
from experiments.runs.identity import run_name
from experiments.store.paths import CONF
from experiments.store.store import Store
from tests.experiments.made import compose

TRAIN = """
import json, sys
from experiments import train
for line in map(json.loads, sys.argv[1:]):
    sys.argv, code = ["train", *line], 0
    try:
        train.main()
    except SystemExit as end:
        code = end.code
    heavy = [name for name in ("torch", "transformers", "pandas", "wandb", "sklearn") if name in sys.modules]
    print(json.dumps([code, heavy]))
"""
REFUSED = {
    "method.rank=abc": "method.rank 'abc' is not a whole number of at least 1",
    "task.files.train=no.csv": "no file no.csv",
    "task.text=[body]": "column 'body' is not one of label, text",
    "init_from=no-such-run": "init_from no-such-run: no adapter and no run",
}


def asked_for(*command_lines: list[str]) -> Iterator[tuple[int, dict[str, Any], list[str]]]:
    """Exit code, answer and heavy imports so far of each `experiments.train`, one after the other in one process."""
    process = subprocess.run([sys.executable, "-c", TRAIN, *map(json.dumps, command_lines)], cwd=CONF.parent,
                             capture_output=True, text=True, check=True)
    *_, last = output = process.stdout.splitlines()
    ends = [number for number, line in enumerate(output) if line.startswith("[")]
    assert (len(ends), output[ends[-1]]) == (len(command_lines), last)
    for end in ends:
        code, heavy = json.loads(output[end])
        yield code, json.loads(output[end - 1]), heavy


def test_a_finished_run_and_a_wrong_value_are_answered_without_torch(tiny_run: list[str]) -> None:
    record = run(compose(*tiny_run))
    answered, *refused = asked_for(tiny_run, *([*tiny_run, override] for override in REFUSED))
    code, answer, imported = answered
    assert (code, answer["run"], imported) == (0, record.run, [])
    for (code, answer, imported), (override, message) in zip(refused, REFUSED.items(), strict=True):
        assert (code, imported) == (1, []), override
        assert re.search(message, answer["error"]), override


def test_a_run_reads_its_preset_once(tiny_run: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    opened, plainly = [], Path.open

    def counted(path: Path, *args: object, **kwargs: object) -> object:
        opened.append(path.name)
        return plainly(path, *args, **kwargs)  # type: ignore[call-overload]

    lines = [line for line in tiny_run if not line.startswith("trainer.learning_rate")]
    cfg = compose(*lines)
    monkeypatch.setattr(Path, "open", counted)
    with asked(cfg) as request:
        assert request.record.preset is not None
    assert opened.count("default.csv") <= 1


def test_a_record_of_an_older_name_is_found_and_keeps_its_name(tiny_run: list[str]) -> None:
    record = run(cfg := compose(*tiny_run))
    store, older = Store(cfg.store), record.run.replace("-r4-qv", "")
    for path in (store.path(record.run), store.adapter_folder(record.run)):
        path.rename(path.with_name(path.name.replace(record.run, older)))
    store.path(older).unlink()
    store.write(replace(record, run=older, adapter=f"adapters/{older}"))
    with asked(cfg) as request:
        assert (request.done, request.record.run) == (True, older)
    again = run(compose(*tiny_run, "overwrite=true"))
    assert [stored.run for stored in store.all()] == [again.run] == [older]
    started = [run(compose(*tiny_run, "seed=1", f"init_from={name}")) for name in (older, record.run)]
    assert started[0].run == started[1].run


def test_a_finished_run_is_answered_where_nothing_can_be_written(
        tiny_run: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    record = run(compose(*tiny_run))

    def refuse(*_: object) -> None:
        raise OSError("store cannot be written: Read-only file system")

    for name in ("check_writable", "lock", "write"):
        monkeypatch.setattr(Store, name, refuse)
    assert run(compose(*tiny_run)).score == record.score
    with pytest.raises(OSError, match="store cannot be written"):
        run(compose(*tiny_run, "seed=1"))


def test_an_edited_record_is_refused_and_overwritten_when_asked_to(tiny_run: list[str]) -> None:
    record = run(cfg := compose(*tiny_run))
    path = Store(cfg.store).path(record.run)
    path.write_text(path.read_text().replace('"status": "done"', '"status": "failed"'))
    with pytest.raises(ValueError, match=f"{path} was changed after it was written.* with overwrite=true"):
        run(cfg)
    again = run(compose(*tiny_run, "overwrite=true"))
    assert (again.run, again.score) == (record.run, record.score)
    assert run(cfg).finished == again.finished


def test_another_run_of_the_same_digits_is_not_taken_for_this_one(tiny_run: list[str]) -> None:
    record = run(cfg := compose(*tiny_run))
    other = record.identity[:8] + "f" * 56
    Store(cfg.store).write(replace(record, identity=other))
    for overwrite in ("true", "false"):
        with pytest.raises(ValueError, match=f"{other}, not {record.identity}; use another store"):
            run(compose(*tiny_run, f"overwrite={overwrite}"))


def test_seeds_have_one_setting_and_anything_else_another(tiny_run: list[str], tmp_path: Path) -> None:
    def setting(*overrides: str) -> str:
        return new_record(compose(*tiny_run, *overrides)).setting

    assert setting("seed=1") == setting("seed=2", f"store={tmp_path}", "trainer.threads=2")
    assert len({setting(*one) for one in ([], ["model.dropout=0.3"], ["trainer.epochs=3"], ["method.alpha=3"])}) == 4
    train = next(line for line in tiny_run if line.startswith("task.files.train")).partition("=")[2]
    (tmp_path / "train.csv").write_text(Path(train).read_text() + "more,praise\n")
    assert setting(f"task.files.train={tmp_path / 'train.csv'}") != setting()


def test_seeds_that_start_from_seeds_of_one_setting_have_one_setting(tiny_run: list[str]) -> None:
    sources = [run(compose(*tiny_run, *more)).run
               for more in (["seed=0"], ["seed=1"], ["seed=0", "trainer.weight_decay=0.1"])]
    settings = [new_record(compose(*tiny_run, f"seed={seed}", f"init_from={name}")).setting
                for seed, name in enumerate(sources)]
    assert settings[0] == settings[1] != settings[2]


def test_what_a_killed_process_left_is_removed_and_nothing_that_a_live_one_may_write(
        tiny_run: list[str], tmp_path: Path) -> None:
    store, hour_ago = tmp_path / "store", time.time() - 4000
    own = run_name(compose(*tiny_run))

    def left(run: str, old: bool) -> list[Path]:
        paths = [store / "runs" / f".{run}.json.a1b2c3d4", store / "adapters" / run / ".adapter.safetensors.99",
                 store / "checkpoints" / run / "state.pt.partial"]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
            os.utime(path, (hour_ago, hour_ago) if old else None)
        return paths

    gone = [*left(own, old=False), *left("killed", old=True)]
    stay = [*left("young", old=False), *left("held", old=True), store / "adapters" / "killed" / ".gitignore"]
    stay[-1].write_text("*")
    with FileLock(store / "locks" / "held.lock"):
        run(compose(*tiny_run))
    assert [path for path in gone if path.exists()] == []
    assert [path for path in stay if not path.exists()] == []
