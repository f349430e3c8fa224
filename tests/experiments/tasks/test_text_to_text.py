"""A user's own prompts and targets, from files."""

from pathlib import Path

import pytest

from experiments.runs.execute import run
from tests.experiments.made import compose, write


def test_own_prompts_and_targets_are_trained_on_from_files(tiny_language_run: list[str], tmp_path: Path) -> None:
    rows = [{"question": f"what is {i} and {i} ?", "answer": str(2 * i)} for i in range(24)]
    for split, chosen in (("train", rows), ("validation", rows[::4])):
        write(tmp_path / f"{split}.jsonl", chosen)
    lines = [line for line in tiny_language_run if not line.startswith("task=")]
    own = [*lines, "task=generation", "task.prompt=question", "task.target=answer",
           *(f"task.files.{split}={tmp_path / split}.jsonl" for split in ("train", "validation"))]
    record = run(compose(*own))
    assert (record.status, len(record.history)) == ("done", 2)
    assert record.history[1]["loss"] < record.history[0]["loss"]
    write(tmp_path / "train.jsonl", rows[:20])
    assert run(compose(*own)).identity != record.identity
    with pytest.raises(ValueError, match="column 'reply' is not one of answer, question"):
        run(compose(*own, "task.target=reply"))
    with pytest.raises(ValueError, match=r"task.files.validation is not set: .*task.evaluate_on=development"):
        run(compose(*own, "task.files.validation=null"))
