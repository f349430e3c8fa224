"""Labels of the user's files: one class a meaning, and none where there is no label."""

import logging
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.tasks import TextTask
from experiments.tasks.labels import almost_the_same, is_missing
from tests.experiments.made import write
from tests.experiments.tasks.made import text_task


def task_of(train: list, file: Path, *overrides: str, validation: list | None = None) -> TextTask:
    """A task whose training file has these labels, and its validation file these or others."""
    write(file, [{"text": f"text {row}", "label": label} for row, label in enumerate(train)])
    other = train if validation is None else validation
    rows = [{"text": f"other {row}", "label": label} for row, label in enumerate(other)]
    second = write(file.with_name(f"validation{file.suffix}"), rows)
    return text_task("classification", f"task.files={{train: {file}, validation: {second}}}", *overrides)


@pytest.mark.parametrize(
    ("labels", "alike"),
    [
        (["neg", "pos", " neg"], "' neg' and 'neg'"),
        (["neg", "pos", "neg\u00a0"], r"'neg' and 'neg[\\]+xa0'"),  # a no-break space
        (["not  good", "good", "not good"], "'not  good' and 'not good'"),
        (["Neg", "pos", "neg"], "'Neg' and 'neg'"),
        (["True", "False", "true"], "'True' and 'true'"),
        (["1", "0", "1.0"], "'1' and '1.0'"),
        (["1", "0", "01"], "'01' and '1'"),
        (["1000", "0", "1e3"], "'1000' and '1e3'"),
        (["caf\u00e9", "cafe\u0301"], "'cafe\u0301' and 'caf\u00e9'"),  # one letter, or a letter and its accent
        (["neg\u200b", "neg", "pos"], r"'neg' and 'neg[\\]+u200b'"),  # a space of no width
    ],
)
def test_classes_that_look_the_same_are_named(tmp_path, labels, alike):
    message = rf"train.csv: the labels {alike} of column 'label' differ in spaces, case or the way .* task.labels"
    with pytest.raises(Exception, match=message):
        task_of(labels, tmp_path / "train.csv")


def test_classes_that_look_the_same_are_several_where_they_are_declared(tmp_path):
    task = task_of(["US", "us"], tmp_path / "train.csv", "task.labels=[us,US]")
    assert task.load().train["label"] == [1, 0]


def test_different_classes_are_not_alike():
    assert almost_the_same(["0", "1", "10", "-1", "0.1", "neg", "pos", "neg-ish", "inf", "a b", "ab"]) == []


@given(st.text(st.characters(codec="ascii"), min_size=1).filter(str.strip),
       st.sampled_from([str.upper, str.lower, " {}".format, "{}\t".format]))
def test_a_changed_case_or_space_is_alike_or_the_same(name, change):
    assert name == change(name) or sorted(almost_the_same([name, change(name)])) == sorted([name, change(name)])


@pytest.mark.parametrize("missing", [None, math.nan, "", "  ", "nan", "NaN"])
@pytest.mark.parametrize("extension", [".csv", ".jsonl"])
def test_a_missing_label_is_no_class_and_its_row_is_named(tmp_path, extension, missing):
    cell = "" if missing is None and extension == ".csv" else missing
    task = task_of(["pos", "neg", cell], tmp_path / f"t{extension}")
    assert task.labels == ["neg", "pos"]
    with pytest.raises(ValueError, match=rf"t{extension}, row 2: label is missing \(.*\): leave such rows out"):
        task.load()


def test_a_missing_number_is_named(tmp_path):
    task = task_of([0.5, math.nan], tmp_path / "t.parquet", "task.kind=regression", "task.main_metric=pearson")
    with pytest.raises(ValueError, match=r"t.parquet, row 1: label is missing \(nan\)"):
        task.load()


def test_none_is_a_class_where_it_is_a_word():
    assert not any(map(is_missing, ("None", "none", "null", "NA", 0, False, "0")))


@pytest.mark.parametrize("extension", [".parquet", ".jsonl"])
def test_whole_numbers_are_the_same_classes_as_integers_and_as_floats(tmp_path, extension):
    task = task_of([0.0, 1.0], tmp_path / f"t{extension}", validation=[1, 0])
    assert task.labels == ["0", "1"]
    data = task.load()
    assert (data.train["label"], data.evaluation["validation"]["label"]) == ([0, 1], [1, 0])


def test_booleans_of_a_csv_are_two_classes(tmp_path):
    task = task_of([True, False], tmp_path / "t.csv")
    assert (task.labels, task.load().train["label"]) == (["False", "True"], [1, 0])


def test_a_label_that_training_lacks_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"validation.csv, row 1: label 'Neg' is not one of neg, pos; did you mean"):
        task_of(["neg", "pos"], tmp_path / "t.csv", validation=["pos", "Neg"]).load()


def test_rows_that_are_trained_and_evaluated_on_are_counted(tmp_path, caplog):
    rows = [{"text": f"text {row}", "label": "ab"[row % 2]} for row in range(40)]
    train, other = write(tmp_path / "train.csv", rows[:30]), write(tmp_path / "dev.csv", rows[28:])
    with caplog.at_level(logging.WARNING, logger="experiments.tasks"):
        text_task("classification", f"task.files={{train: {train}, validation: {other}}}").load()
        assert "2 of the 12 rows of validation are among the rows to train on" in caplog.text
        caplog.clear()
        write(tmp_path / "dev.csv", rows[30:])
        text_task("classification", f"task.files={{train: {train}, validation: {other}}}").load()
    assert caplog.text == ""


@pytest.mark.parametrize("label", [["x"], {"name": "x"}])
def test_a_list_or_a_mapping_is_no_class(tmp_path, label):
    with pytest.raises(Exception, match=r"t\.jsonl, row 1: label .* is not one class"):
        task_of(["x", label], tmp_path / "t.jsonl")


def test_numbers_and_texts_are_no_classes_unless_they_are_declared(tmp_path):
    numbers = [row / 7 for row in range(24)]
    with pytest.raises(Exception, match=r"'label' has 24 different values in 24 rows: .* task.kind=regression"):
        task_of(numbers, tmp_path / "t.csv")
    assert len(task_of([*numbers, *numbers], tmp_path / "t.csv").labels) == 24
    names = ",".join(f"n{row}" for row in range(24))
    assert len(task_of([f"n{row}" for row in range(24)], tmp_path / "t.csv", f"task.labels=[{names}]").labels) == 24


@pytest.mark.parametrize(("label", "extension"), [(True, ".jsonl"), ("1_000", ".csv")])
def test_true_and_a_number_of_python_alone_are_no_numbers(tmp_path, label, extension):
    task = task_of([0.5, label], tmp_path / f"t{extension}", "task.kind=regression", "task.main_metric=pearson")
    with pytest.raises(ValueError, match=f"row 1: label {label!r} is not a finite number"):
        task.load()


@pytest.mark.parametrize("columns", ["[label]", "[text,text]", "[text,label]"])
def test_a_column_is_one_part_of_a_row(tmp_path, columns):
    with pytest.raises(Exception, match="name a column twice"):
        task_of(["a", "b"], tmp_path / "t.csv", f"task.text={columns}")


def test_texts_that_are_empty_are_counted(tmp_path, caplog):
    file = write(tmp_path / "t.csv", [{"text": text, "label": "xy"[row % 2]}
                                      for row, text in enumerate(["a", " ", "b", ""])])
    text_task("classification", f"task.files={{train: {file}, validation: {file}}}").split("train")
    assert f"{file}: text is empty in 2 of 4 rows, the first is row 1" in caplog.messages
