"""Benchmark records are read under one schema, and every committed page is made from its record."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from experiments.config.compose import configs
from experiments.measure.record import new_record, read_benchmark
from experiments.measure.sheets import PAGES, benchmark_sheet
from experiments.store.paths import ROOT
from experiments.tables.publish import publish, sheet_markdown

COMMITTED = sorted(path for path in (ROOT / "results" / "cpu").glob("*/*.json") if path.stem != "latency")


def content(**changes: Any) -> dict[str, Any]:
    variants = {"ours": {"seconds": 1.0, "over_peft_trainer": 0.5}}
    return asdict(new_record("epoch", ("torch",), 2, 3, {"model": "m", "targets": ["q", "v"]}, variants, {})) | changes


def test_a_published_record_is_read_back(tmp_path: Path) -> None:
    record = new_record("epoch", ("torch",), 2, 3, {"rows": 4}, {"ours": {"seconds": 1.0, "over_peft_trainer": 1.0}},
                        {})
    publish(benchmark_sheet(record), tmp_path, ("json",))
    assert read_benchmark(tmp_path / "epoch.json") == record


@pytest.mark.parametrize(("change", "message"), [
    ({"schema": 2}, "schema 2 is not 1"),
    ({"schema": None}, "schema None is not 1"),
    ({"round": 3}, "key 'round' is not one of .*; did you mean 'rounds'"),
    ({"threads": ...}, "lacks threads")])
def test_what_is_not_a_record_is_refused_by_name(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    changed = {key: value for key, value in content(**change).items() if value is not ...}
    (tmp_path / "epoch.json").write_text(json.dumps(changed))
    with pytest.raises(ValueError, match=message):
        read_benchmark(tmp_path / "epoch.json")


def test_a_list_is_not_a_record(tmp_path: Path) -> None:
    (tmp_path / "epoch.json").write_text("[1]")
    with pytest.raises(ValueError, match="schema None is not 1"):
        read_benchmark(tmp_path / "epoch.json")


def test_every_benchmark_has_a_committed_record() -> None:
    assert {read_benchmark(path).benchmark for path in COMMITTED} == set(PAGES)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
def test_a_committed_page_is_made_from_its_record(path: Path) -> None:
    assert path.with_suffix(".md").read_text() == sheet_markdown(benchmark_sheet(read_benchmark(path)))


@pytest.mark.parametrize("name", PAGES)
def test_a_benchmark_writes_where_its_record_is(name: str) -> None:
    with configs("benchmark") as compose_benchmark:
        cfg = compose_benchmark([f"benchmark={name}"])
    assert (ROOT / cfg.output / f"{name}.json") in COMMITTED
