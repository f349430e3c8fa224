import re
from dataclasses import replace

import pandas as pd
import pytest

from experiments.tables.latex import escape_latex
from experiments.tables.publish import publish, sheet_latex, sheet_markdown
from experiments.tables.table import Cell, Row, Table, sheet_of, tidy
from experiments.tables.text import DASH


def table(*cells: Cell, average: bool = False, aggregate: str = "median") -> Table:
    """One row with these cells as columns c0, c1, ..."""
    columns = [f"c{i}" for i in range(len(cells))]
    named = dict(zip(columns, cells, strict=True))
    row = Row(["roberta-base"], ["minilm"], "prior", "0.3M", [36864], "84.0", named)
    return Table("Table 0", ["model"], columns, [row], aggregate, 1, True, average, ["a note"])


def ours(*cells: Cell, **options: object) -> list[str]:
    return table(*cells, **options).blocks()[0][1][3:]  # type: ignore[arg-type]


def test_a_cell_shows_median_standard_deviation_and_number_of_seeds():
    # mean 86.667, squared distances from it 2.778 + 0.444 + 5.444 = 8.667; over n - 1 = 2: 4.333; root 2.08
    assert ours(Cell("90.2", "", [85.0, 86.0, 89.0])) == ["86.0 ± 2.1 (3)"]


def test_a_table_of_means_shows_the_mean():
    assert ours(Cell("90.2", "", [85.0, 86.0, 89.0]), aggregate="mean") == ["86.7 ± 2.1 (3)"]


def test_one_seed_has_no_spread_and_no_run_is_a_dash():
    assert ours(Cell("90.2", "", [85.0]), Cell("1", "", [])) == ["85.0 (1)", DASH]


def test_collapsed_runs_are_shown_beside_the_number_that_leaves_them_out():
    cells = Cell("1", "", [85.0, 87.0], collapsed=1), Cell("1", "", [], collapsed=3)
    assert ours(*cells) == ["86.0 ± 1.4 (2, 1 collapsed)", "– (3 collapsed)"]


def test_the_paper_stands_as_printed_with_its_mark_and_a_dash_for_the_unknown():
    lines = table(Cell("90.2", ".7", []), Cell("", "", [])).blocks()[0]
    assert lines[0] == ["roberta-base", "paper*", "0.3M", "90.2 ± .7", DASH]
    assert lines[1][:3] == ["minilm", "ours", "36,864"]


def test_the_average_needs_every_column():
    full, empty = Cell("1", "", [80.0]), Cell("1", "", [])
    assert ours(full, Cell("1", "", [90.0]), average=True)[-1] == "85.0"
    assert ours(full, empty, average=True)[-1] == DASH
    assert table(full, empty, average=True).blocks()[0][0][-1] == "84.0"


def test_markdown_keeps_its_columns_whatever_a_value_holds():
    text = sheet_markdown(sheet_of(table(Cell("9|1 *", "", [])), "table0"))
    row = next(line for line in text.splitlines() if "paper" in line)
    assert row == r"| RoBERTa-base | paper\* | 0.3M | 9\|1 \* |"


def test_latex_escapes_every_special_character():
    assert escape_latex("a_b & 5% #1 {x} ~ ^ \\ $ ± – †") == (
        r"a\_b \& 5\% \#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} \$ $\pm$ -- $\dagger$"
    )
    assert r"90\_2 $\pm$ .7 \\" in sheet_latex(sheet_of(table(Cell("90_2", ".7", [])), "table0"))


def test_the_csv_has_one_line_a_cell_in_full_precision():
    frame = tidy(table(Cell("90.2", ".7", [85.25, 86.5]), Cell("1", "", [], collapsed=2)))
    assert frame.loc[0, ["model", "our_model", "column", "paper", "ours", "seeds"]].tolist() == [
        "roberta-base", "minilm", "c0", "90.2", 85.875, 2]
    assert pd.isna(frame.loc[1, "ours"])
    assert frame.loc[1, "collapsed"] == 2


def test_three_files_are_saved(tmp_path):
    sheet = sheet_of(table(Cell("90.2", "", [85.0])), "table0")
    paths = publish(sheet, tmp_path / "tables", ("md", "csv", "tex"))
    assert [path.name for path in paths] == ["table0.md", "table0.csv", "table0.tex"]
    assert all(path.read_text(encoding="utf-8").endswith("\n") for path in paths)


@pytest.mark.parametrize("columns", [2, 12])
def test_a_printed_table_is_not_cut_where_there_is_no_terminal(capsys, tmp_path, columns):
    publish(sheet_of(table(*[Cell("90.2", ".7", [85.0, 86.0], collapsed=1)] * columns), "table0"), tmp_path)
    assert capsys.readouterr().out.count("85.5 ± 0.7 (2, 1 collapsed)") == columns


def test_latex_has_rules_a_label_and_a_caption_without_the_papers_number_or_a_path():
    one = replace(table(Cell("90.2", "", [85.0])), title="Table 6: accuracy by rank", source="results/x_y")
    text = sheet_latex(sheet_of(one, "table6"))
    assert r"\caption{Accuracy by rank}" in text
    assert r"\label{tab:table6}" in text
    assert r"\begin{tabular}{llrr}" in text  # the label, where from; parameters and a score to the right
    assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
    assert [line for line in text.splitlines() if "x_y" in line] == ["% from results/x_y"]


def test_in_latex_a_space_stands_between_rows_as_a_command_of_its_own():
    one = table(Cell("90.2", "", [85.0]))
    text = sheet_latex(sheet_of(replace(one, rows=one.rows * 3), "table6"))
    assert re.findall(r"\\addlinespace.*", text) == [r"\addlinespace"] * 2


def test_files_for_programs_keep_ids():
    sheet = sheet_of(table(Cell("90.2", "", [85.0])), "table0")
    assert sheet.texts()[0][0] == "RoBERTa-base"
    assert sheet.full().model[0] == "roberta-base"
