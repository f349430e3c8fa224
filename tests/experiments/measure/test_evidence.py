"""What the committed results must show; how they are made is tested where they are made."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from experiments.artifacts.artifact import read_rows
from experiments.measure import cost_check
from experiments.measure.step import shadow_of
from experiments.models.load import kind_of
from experiments.store.store import Store
from experiments.sweeps.lines import lines_of, pooled_notes
from experiments.sweeps.side_by_side import compare, sheet_of
from experiments.tables.publish import sheet_markdown
from tests.conftest import ROOT
from tests.experiments.made import compose


def result(path: str) -> dict[str, Any]:
    return json.loads((ROOT / "results" / path).read_text())


@pytest.mark.parametrize("what", ["memory", "time", "ratio"])
def test_a_steps_cost_is_predicted_within_20_percent(what: str) -> None:
    assert result("cpu/cost/cost.json")["summary"][f"worst_{what}_error"] < 0.2


@pytest.mark.parametrize("method", ["ft", "lora"])
def test_the_committed_predictions_are_todays(method: str) -> None:
    """Of the first setting, from the speeds that its record has."""
    setting = compose("benchmark=cost", config="benchmark").settings[0]
    step = cost_check.case(setting, method)
    cost = shadow_of(step, kind_of(step.model))
    (found,) = [case for case in result("cpu/cost/cost.json")["variants"].values() if case["method"] == method
                and {key: case[key] for key in cost_check.KEYS} == dict(setting)]
    speeds = {"product": found["product_gflops"] * 1e9,
              **{name: found[f"{name}_gb_per_second"] * 1e9 for name in ("rest", "update")}}
    assert found["predicted_memory_mb"] == cost.peak_bytes / 1e6
    # medians over rounds: that of a sum is not the sum of medians
    assert found["predicted_seconds"] == pytest.approx(cost_check.predicted_seconds(cost, speeds), rel=0.02)


@pytest.mark.parametrize("folder", ["latency", "latency-bf16"])
def test_merged_lora_is_as_fast_as_the_base_at_the_papers_smallest_input(folder: str) -> None:
    found = result(f"cpu/{folder}/latency.json")
    (merged,) = [cell for cell in found["cells"] if cell["part"] == "table1" and cell["variant"] == "lora_merged"
                 and (cell["batch_size"], cell["length"]) == (1, 128)]
    assert found["model"] == "gpt2-medium"
    assert -1 < merged["slowdown_low"] <= 0 <= merged["slowdown_high"] < 1
    assert merged["trials"] >= 100


@pytest.mark.parametrize(("key", "least", "most"), [
    ("checkpoint_ft", 349, 351), ("tasks_lora", 352, 355), ("tasks_ft", 34.5, 35.5), ("memory_lora_peak", 349, 353.5),
    ("checkpoint_lora", 37.748736, 37.748736),  # 96 layers, q and v, rank 4, A and B of 12288: 2 bytes each
    ("time_saved", 24, 26), ("throughput", 1.31, 1.34)])
def test_the_papers_costs_come_out(key: str, least: float, most: float) -> None:
    (row,) = [row for row in result("paper/tables/costs.json")["claims"] if row["key"] == key]
    assert least <= row["ours"] <= most


def test_the_papers_training_memory_is_between_two_ways_to_count_it() -> None:
    ours = {row["key"]: row["ours"] for row in result("paper/tables/costs.json")["claims"]}
    assert ours["memory_ft_moments"] < 1.2 < ours["memory_ft_gradients"]


def test_the_committed_counts_are_the_papers_arithmetic(shared: Path) -> None:
    with (ROOT / "results/paper/tables/counts.csv").open() as ours, \
            (shared / "paper/parameter_counts.csv").open() as theirs:
        found = [[row["model"], row["method"], row["setting"], row["exact"]] for row in csv.DictReader(ours)]
        asked = [[row["model"], row["method"], row["setting"], row["params_exact"]] for row in csv.DictReader(theirs)]
    assert found == asked


def test_claims_are_beside_what_the_paper_printed() -> None:
    rows = result("paper/tables/costs.json")["claims"]
    assert [{key: row[key] for key in row if key != "ours"} for row in rows] == read_rows("section04_cost")


@pytest.mark.parametrize("store", ["minilm", "minilm/learning_rates"])
def test_the_runs_side_by_side_are_those_of_the_store(store: str) -> None:
    folder = ROOT / "results" / store
    records = Store(folder).all()
    sheet = sheet_of(compare(records), pooled_notes(lines_of(records), with_device=True))
    assert (folder / "tables" / "runs.md").read_text() == sheet_markdown(sheet)
