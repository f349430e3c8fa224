"""Asking for a run: the store's answer and refusals need no torch, and a preset is read once."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.runs.ask import asked
from experiments.runs.execute import run
from experiments.store.paths import CONF
from experiments.store.store import Store
from tests.experiments.made import compose

TRAIN = """
import sys
from experiments import train
try:
    train.main()
finally:
    print([name for name in ("torch", "transformers", "pandas", "wandb", "sklearn") if name in sys.modules])
"""


def asked_for(*overrides: str) -> tuple[int, list[str]]:
    """Exit code and lines of standard output of `experiments.train`, the last with what it imported."""
    process = subprocess.run([sys.executable, "-c", TRAIN, *overrides], cwd=CONF.parent, capture_output=True, text=True)
    return process.returncode, process.stdout.splitlines()


def test_a_finished_run_is_answered_without_torch(tiny_run: list[str]) -> None:
    record = run(compose(*tiny_run))
    code, (*_, answer, imported) = asked_for(*tiny_run)
    assert (code, json.loads(answer)["run"], imported) == (0, record.run, "[]")


@pytest.mark.parametrize(("override", "message"), [
    ("method.rank=abc", "method.rank 'abc' is not a whole number of at least 1"),
    ("method.alpha=-1", "method.alpha -1 is not a number above 0"),
    ("method.targets=qv", r"method.targets 'qv' is not a list: write \[q,v\]"),
    ("trainer.epochs=two", "trainer.epochs 'two' is not a whole number of at least 1"),
    ("task.files.train=no.csv", "no file no.csv"),
    ("task.text=[body]", "column 'body' is not one of label, text"),
    ("init_from=no-such-run", "init_from no-such-run: no adapter and no run"),
])
def test_a_wrong_value_is_refused_without_torch(tiny_run: list[str], override: str, message: str) -> None:
    code, (answer, imported) = asked_for(*tiny_run, override)
    assert (code, imported) == (1, "[]")
    assert re.search(message, json.loads(answer)["error"])


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
