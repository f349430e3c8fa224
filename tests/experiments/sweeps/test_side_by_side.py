"""The runs of a store side by side, from records written by hand."""

import hashlib
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from experiments.compare import main
from experiments.store.store import RunRecord, Store
from experiments.sweeps import side_by_side
from experiments.sweeps.lines import pooled_notes
from experiments.sweeps.side_by_side import sheet_of, side_by_side_figure
from experiments.tables.publish import sheet_markdown


def record(seed: int, rate: float, score: float, status: str = "done") -> RunRecord:
    config = {"seed": seed, "store": f"elsewhere{seed}", "task": {"name": "rte", "labels": ["a", "b"]},
              "model": {"name": "minilm"}, "method": {"name": "lora", "rank": 8, "targets": ["q", "v"]},
              "trainer": {"learning_rate": rate, "threads": seed}}
    return RunRecord(run=f"{rate}-{seed}", identity="", status=status, config=config, seed=seed, score=score,
                     trainable=1234, seconds=10.0 + seed, tokens_per_second=100.0, peak_memory_mb=50.0, best_epoch=seed)


def setting(record: RunRecord) -> str:
    """A hash of all but seed, store and hardware; an option that is off counts as absent."""
    groups = [record.config[group].items() for group in ("task", "model", "method", "trainer")]
    parts = [{key: value for key, value in group if key != "threads" and value is not False} for group in groups]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def compare(records: list[RunRecord]) -> pd.DataFrame:
    """The comparison of records whose configs were changed after they were made."""
    return side_by_side.compare([replace(record, setting=record.setting or setting(record)) for record in records])


def write(folder: Path, record: RunRecord) -> Path:
    """Into a store, as a run writes it."""
    return Store(folder).write(replace(record, setting=record.setting or setting(record)))


def test_seeds_of_one_setting_are_one_line_with_the_median_and_the_spread():
    table = compare([record(1, 1e-3, 60.0), record(2, 1e-3, 64.0), record(3, 1e-3, 80.0)])
    assert len(table) == 1
    line = table.iloc[0]
    assert (line.score, line.seeds, line.trainable, line.seconds) == (64.0, 3, 1234, 12.0)
    assert line.spread == pytest.approx(10.5830052)  # sqrt(((60-68)^2 + (64-68)^2 + (80-68)^2) / 2), mean 68


def test_only_what_differs_between_settings_is_a_column_and_the_best_comes_first():
    table = compare([record(1, 1e-3, 60.0), record(1, 3e-3, 70.0)])
    assert table.learning_rate.tolist() == ["0.003", "0.001"]
    assert not {"rank", "threads", "store", "seed", "labels"} & set(table.columns)


def test_a_run_from_before_an_option_is_one_with_it_off():
    records = [record(seed, 1e-3, 60.0 + seed) for seed in (1, 2, 3)]
    records[1].config["method"]["dora"] = False
    records[2].config["method"]["dora"] = True
    table = compare(records)
    assert list(zip(table.dora, table.score, table.seeds, strict=True)) == [("true", 63.0, 1), ("false", 61.5, 2)]
    assert "dora" not in compare(records[:2]).columns


def test_a_collapsed_run_is_counted_and_kept_out_of_the_median():
    table = compare([record(1, 1e-3, 60.0), record(2, 1e-3, 50.0, "collapsed")])
    assert (table.score[0], table.seeds[0], table.collapsed[0]) == (60.0, 1, 1)
    assert "| 0.001 |" in sheet_markdown(sheet_of(compare([record(1, 1e-3, 60.0), record(1, 3e-3, 70.0)])))


def test_of_a_loss_the_lowest_comes_first_with_four_decimals():
    records = [record(1, 1e-3, 1.23456), record(1, 3e-3, 0.98765), record(1, 1e-4, 1.5), record(1, 1e-2, 0.5, "failed")]
    for one in records:
        one.config["task"] |= {"name": "e2e", "main_metric": "loss"}
    table = compare(records)
    assert table.learning_rate.tolist() == ["0.003", "0.001", "0.0001", "0.01"]
    assert table.score.tolist()[:3] == [0.98765, 1.23456, 1.5]  # in full for programs
    assert "| loss | 0.9877 | - | 1 |" in sheet_markdown(sheet_of(table))


def test_a_store_of_failures_is_shown_too():
    table = compare([record(1, 1e-3, 60.0, "failed"), record(1, 3e-3, 70.0, "collapsed")])
    assert table.score.isna().all()
    assert "| - | - | 0 |" in sheet_markdown(sheet_of(table))


def test_runs_of_two_metrics_are_two_lines():
    table = compare([one := record(1, 1e-3, 60.0), other := record(2, 1e-3, 70.0)])
    assert len(table) == 1
    one.config["task"]["main_metric"], other.config["task"]["main_metric"] = "accuracy", "f1"
    assert compare([one, other]).main_metric.tolist() == ["f1", "accuracy"]


def test_settings_print_as_they_are_written_and_the_table_is_not_cut(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    for seed, (length, clip, bucket) in enumerate([(128, 1.0, True), (1024, None, False)]):
        one = record(seed, 1e-3, 60.5)
        one.config["trainer"] |= {"max_length": length, "gradient_clip": clip, "bucket": bucket}
        one.config["trainer"] |= {f"a_long_name_of_an_option_{i}": seed for i in range(10)}
        write(tmp_path, one)
    monkeypatch.setattr(sys, "argv", ["compare", f"store={tmp_path}"])
    main()
    *table, last = capsys.readouterr().out.splitlines()
    assert json.loads(last)["lines"] == 2
    words = [re.split(r"[\s┃│]+", line) for line in table]
    assert any("a_long_name_of_an_option_9" in line for line in words)
    for settings in (["128", "1", "true"], ["1024", "-", "false"]):
        assert sum(line[4:7] == settings for line in words) == 1, table
    line = (tmp_path / "tables" / "runs.md").read_text().splitlines()[-1]
    assert "| 60.50 | - | 1 | 0 | 0 | 1 | 1,234 | 11.00 | 100 | 50 |" in line


def test_a_task_and_a_method_on_the_command_line_leave_only_their_runs(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    for seed, (task, method) in enumerate([("mrpc", "lora"), ("mrpc", "ft"), ("rte", "lora"), ("cola", "lora")]):
        one = record(seed, 1e-3, 60.0)
        one.config["task"]["name"], one.config["method"]["name"] = task, method
        write(tmp_path, one)

    def last_line(*overrides: str) -> dict[str, object]:
        monkeypatch.setattr(sys, "argv", ["compare", f"store={tmp_path}", *overrides])
        main()
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    def error(*overrides: str) -> object:
        with pytest.raises(SystemExit):
            last_line(*overrides)
        return json.loads(capsys.readouterr().out)["error"]

    chosen = {(): 4, ("task=mrpc",): 2, ("method=lora",): 3, ("task=mrpc", "method=lora"): 1,
              ("task=classification", "task.name=cola"): 1}
    assert {overrides: last_line(*overrides)["runs"] for overrides in chosen} == chosen
    assert error("task=rte", "method=ft") == f"store {tmp_path} has no runs of task rte and method ft"
    assert "did you mean 'mrpc'" in str(error("task=mrpcc"))
    assert "not by method.rank=4" in str(error("method=lora", "method.rank=4"))  # not silently every rank


def test_the_comparison_is_a_latex_table_and_a_plot_too(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    for seed, rate in ((0, 1e-3), (1, 1e-3), (0, 3e-3)):
        one = record(seed, rate, 60.0 + seed)
        one.config["task"]["main_metric"] = "accuracy"
        write(tmp_path, one)
    monkeypatch.setattr(sys, "argv", ["compare", f"store={tmp_path}"])
    main()
    files = {Path(file).name for file in json.loads(capsys.readouterr().out.splitlines()[-1])["files"]}
    assert files == {"runs.md", "runs.csv", "runs.tex", "runs.png", "runs.pdf"}
    assert r"\label{tab:runs}" in (tmp_path / "tables" / "runs.tex").read_text()
    figure = side_by_side_figure(compare(Store(tmp_path).all()))
    assert figure is not None
    (axes,) = (axes for axes in figure.axes if axes.get_title())
    assert axes.get_title() == "MiniLM on RTE"
    assert sorted(line.get_ydata()[0] for line in axes.lines if len(line.get_xdata()) == 1)[-1] >= 60.0


def test_runs_that_differ_in_a_setting_of_the_model_are_two_lines():
    records = [record(seed, 1e-3, 60.0 + seed) for seed in (1, 2, 3, 4)]
    for one, dropout in zip(records, (0.0, 0.0, 0.9, 0.9), strict=True):
        one.config["model"]["dropout"] = dropout
        one.config["method"]["dropout"] = 0.0
    table = compare(records)
    assert dict(zip(table["model.dropout"], table.seeds, strict=True)) == {"0": 2, "0.9": 2}
    assert "dropout" not in table.columns


def test_runs_of_other_files_under_one_config_are_two_lines_with_their_identity():
    records = [replace(record(seed, 1e-3, 60.0 + seed), setting=letter * 64) for seed, letter in enumerate("aab")]
    assert dict(zip(*side_by_side.compare(records)[["identity", "seeds"]].values.T, strict=True)) == {
        "aaaaaaaa": 2, "bbbbbbbb": 1}
    for one, path in zip(records, ("here/model", "here/model", "there/model"), strict=True):
        one.config["model"]["path"] = path
    table = side_by_side.compare(records)
    assert dict(zip(table["model.path"], table.seeds, strict=True)) == {"here/model": 2, "there/model": 1}
    assert "identity" not in table.columns


def test_one_setting_is_one_line_though_paths_and_spelling_differ():
    records = [replace(record(seed, 1e-3, 60.0), setting="a" * 64) for seed in (1, 2)]
    records[0].config["model"]["path"], records[1].config["model"]["path"] = "elsewhere/model", "model"
    records[0].config["method"]["alpha"], records[1].config["method"]["alpha"] = 8, 8.0
    assert side_by_side.compare(records).seeds.tolist() == [2]


def test_what_ran_in_two_precisions_is_two_lines_and_a_failed_run_is_beside_one_of_them():
    records = [replace(record(seed, 1e-3, 60.0), setting="a" * 64, precision=precision)
               for seed, precision in enumerate(("fp32", "fp32", "bf16", ""))]
    records[3].status = "failed"
    table = side_by_side.compare(records)
    assert {line.ran: (line.seeds, line.failed) for line in table.itertuples()} in (
        {"fp32": (2, 1), "bf16": (1, 0)}, {"fp32": (2, 0), "bf16": (1, 1)})


def test_runs_that_start_from_two_settings_are_two_lines_and_two_seeds_of_one_are_one():
    records = [replace(record(seed, 1e-3, 60.0), setting=letter * 64) for seed, letter in enumerate("aab")]
    for one, source in zip(records, ("mnli-m-lora-r8", "mnli-m-lora-r8", "cola-m-lora-r8"), strict=True):
        one.config["init_from"] = f"store/{source}-seed{one.seed}-0123456{one.seed}"
    table = side_by_side.compare(records)
    assert dict(zip(table.init_from, table.seeds, strict=True)) == {"mnli-m-lora-r8": 2, "cola-m-lora-r8": 1}


def test_a_note_names_the_libraries_in_which_runs_of_one_line_differ():
    lines = [[replace(record(seed, 1e-3, 60.0), versions={"torch": version}) for seed, version in enumerate(of_line)]
             for of_line in (("2.5", "2.6"), ("2.6", "2.6"))]
    assert pooled_notes(lines, with_device=True) == ["1 line has runs of more than one torch: 2.5 | 2.6"]


@pytest.mark.parametrize(("before", "after"), [
    ('"score": 61.0', '"score": 99.9'), ('"score": 61.0', '"score": "good"'), ('"score": 61.0', '"score": NaN'),
    ('"seed": 1', '"seed": 7'), ('"rank": 8', '"rank": 4'), ('"status": "done"', '"status": "collapsed"')])
def test_a_record_edited_by_hand_is_named_and_in_no_number(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], before: str, after: str):
    edited = [write(tmp_path, record(seed, 1e-3, 60.0 + seed)) for seed in (0, 1, 2)][1]
    text = edited.read_text()
    assert before in text
    edited.write_text(text.replace(before, after))
    monkeypatch.setattr(sys, "argv", ["compare", f"store={tmp_path}"])
    with pytest.raises(SystemExit) as end:
        main()
    output = capsys.readouterr().out
    last = json.loads(output.splitlines()[-1])
    assert end.value.code == 1  # as no table of all runs
    assert (last["runs"], last["left_out"]) == (2, [f"{edited} was changed after it was written: its checksum is of "
                                                   "other content; compute the run again with overwrite=true, or "
                                                   "remove the file"])
    assert f"left out: {edited}" in output
    assert pd.read_csv(tmp_path / "tables" / "runs.csv").score.tolist() == [61.0]  # median of 60 and 62


def test_a_copied_and_a_doubled_record_are_named_and_count_once(tmp_path: Path):
    first = write(tmp_path, replace(record(0, 1e-3, 60.0), run="rte-m-lora-seed0-00000000", identity="0" * 64))
    shutil.copy(first, copy := first.with_name("rte-m-lora-seed1-00000001.json"))
    write(tmp_path, replace(record(0, 1e-3, 60.0), run="rte-m-lora-r8-qv-seed0-00000000", identity="0" * 64))
    records, left_out = Store(tmp_path).read_all()
    assert [one.run for one in records] == ["rte-m-lora-r8-qv-seed0-00000000"]
    assert [line.split(" ")[0] for line in left_out] == [str(copy), str(first)]


def test_the_comparison_of_a_store_that_cannot_be_written_is_printed(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    write(tmp_path, record(0, 1e-3, 60.0))
    (tmp_path / "tables").write_text("")  # in place of a read-only folder, which root could write
    monkeypatch.setattr(sys, "argv", ["compare", f"store={tmp_path}"])
    main()
    output, error = capsys.readouterr()
    *table, last = output.splitlines()
    assert any("60.00" in line for line in table)
    assert json.loads(last)["files"] == []
    assert f"store {tmp_path} cannot be written" in error
