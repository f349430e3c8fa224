"""Printed tables: whole at any width, names folded at separators, numbers never cut."""

import re

import pytest
from rich.console import Console

from experiments.tables import text
from experiments.tables.text import blocks, fold, is_numeric, print_rows

NAME = "rte-nano-roberta-nano-large-lora-r8-qv-seed0-1a2b3c4d"
COLUMNS = ["run", "method", *(f"task{i}" for i in range(6)), "remark"]
ROWS = [[NAME, "lora", *(f"9{i}.5 ± 0.7 (3)" for i in range(6)), "a remark of some length in plain words"]]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 300])
def test_no_score_and_no_letter_of_a_name_is_cut_at_any_width(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(text, "_console", lambda: Console(width=width, highlight=False))
    print_rows(COLUMNS, ROWS)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= width
    assert "…" not in printed
    for i in range(6):
        assert printed.count(f"9{i}.5 ± 0.7 (3)") == 1
    assert all(part in printed for part in re.findall(r"[^-]+-?", NAME))


def test_a_name_is_folded_after_its_separators() -> None:
    assert fold(NAME, 16) == "rte-nano-\nroberta-nano-\nlarge-lora-r8-\nqv-seed0-\n1a2b3c4d"
    assert fold("abcdefgh", 3) == "abc\ndef\ngh"
    assert fold("two words", 5) == "two\nwords"
    assert fold(NAME, 16).replace("\n", "") == NAME


def test_columns_without_room_follow_in_a_second_block_beside_the_labels() -> None:
    rows = [["a-name", "1.0", "2.0", "3.0"]]
    columns = ["name", "first column", "second column", "third column"]
    assert blocks(columns, rows, [False, True, True, True], 100, None) == [{0: 6, 1: 12, 2: 13, 3: 12}]
    assert blocks(columns, rows, [False, True, True, True], 44, None) == [{0: 6, 1: 12, 2: 13}, {0: 6, 3: 12}]


@pytest.mark.parametrize(("cells", "expected"), [
    (["86.5 ± 0.7 (3)", "-", "1,024"], True), (["– (3 collapsed)", "3e-4"], True), (["q", "8"], False), (["-"], False)])
def test_a_column_of_numbers_is_told_by_its_cells(cells: list[str], expected: bool) -> None:
    assert is_numeric(cells) == expected
