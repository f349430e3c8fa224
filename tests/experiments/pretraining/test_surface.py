"""What words alone give is measured on every task of GLUE, and committed."""

import inspect
from pathlib import Path

import pytest

from experiments import pretrain
from experiments.pretraining import gates
from experiments.store.paths import ROOT
from experiments.tables.names import display_name
from tests.experiments.made import compose

COMMITTED = ROOT / "results" / "nano" / "bag_of_words.md"


def rows(text: str) -> dict[str, list[str]]:
    """Cells by task."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "-nano" in line]
    return {line[0]: line[1:] for line in lines}


def measure(*overrides: str) -> dict:
    """The record of the command."""
    return inspect.unwrap(pretrain.main)(compose("check=surface", *overrides, config="pretrain"))


def test_the_committed_table_has_every_task_and_is_what_the_command_writes(tmp_path: Path):
    committed = rows(COMMITTED.read_text())
    assert list(committed) == [display_name(f"{task}-nano") for task in gates.GLUE]
    record = measure("tasks=[sst2,rte]", f"output={tmp_path}")
    text = Path(record["file"]).read_text()
    assert rows(text) == {task: committed[task] for task in ("SST-2-nano", "RTE-nano")}
    others = [[line for line in page.splitlines() if "-nano" not in line] for page in (text, COMMITTED.read_text())]
    assert others[0] == others[1]
    assert (rows(text)["SST-2-nano"][-1], record["tasks"][0]["of the second alone"]) == ("-", None)  # of one text


def test_a_task_without_classes_or_numbers_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match=r"task 'mnly' is not one of .* did you mean 'mnli'"):
        measure("tasks=[mnly]", f"output={tmp_path}")
