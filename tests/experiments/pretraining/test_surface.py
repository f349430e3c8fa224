"""What words alone give is measured on every task of GLUE, and committed."""

import inspect
from pathlib import Path

import pytest

from experiments.pretraining import gates, surface
from experiments.store.paths import CONF
from tests.experiments.made import compose

COMMITTED = CONF.parent / "results" / "nano" / "bag_of_words.md"


def lines(text: str) -> dict[str, list[str]]:
    """Cells by task."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "-nano" in line]
    return {row[0]: row[1:] for row in rows}


def test_the_committed_table_has_every_task_and_is_what_the_command_writes(tmp_path: Path):
    committed = lines(COMMITTED.read_text())
    assert list(committed) == [f"{task}-nano" for task in gates.GLUE]
    found = inspect.unwrap(surface.main)(compose("tasks=[sst2,rte]", f"store={tmp_path}", config="surface"))
    written = lines(Path(found["file"]).read_text())
    assert written == {task: committed[task] for task in ("sst2-nano", "rte-nano")}
    assert COMMITTED.read_text().splitlines()[0] == Path(found["file"]).read_text().splitlines()[0]
    assert (written["sst2-nano"][-1], found["tasks"][0]["of the second alone"]) == ("-", None)  # of one text


def test_a_task_without_classes_or_numbers_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match=r"task 'mnly' is not one of .* did you mean 'mnli'"):
        inspect.unwrap(surface.main)(compose("tasks=[mnly]", f"store={tmp_path}", config="surface"))
