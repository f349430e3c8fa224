"""Figure 2: every method of the suite at every size, from the records of its runs, beside the paper's numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D

from analysis.figures.scores import Point, Scores, side_by_side, sizes_figure
from experiments.artifacts.artifact import read_artifact
from experiments.artifacts.kinds import sizes
from experiments.runs.identity import Run
from experiments.store.paths import CONF
from experiments.store.store import RunRecord, Store
from tests.experiments.made import NamedRuns, WordsAsConfigs


def configured(store: Path, *overrides: str) -> Any:
    with initialize_config_dir(str(CONF), version_base=None):
        return compose("paper", [f"store='{store}'", "logger.wandb.mode=disabled", "suite=minilm", "artifact=figure2",
                                 *overrides])


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> WordsAsConfigs:
    """Composition that keeps the overrides as the config, and a run's name made of them."""
    def name(cfg: dict[str, Any]) -> str:
        return f"{cfg['task']}-{cfg['method']}{cfg.get('method.rank', '')}-{cfg['seed']}"

    monkeypatch.setattr("experiments.artifacts.plan.all_seeds", lambda cfg, known: NamedRuns(name))
    monkeypatch.setattr("experiments.artifacts.plan.model_identity", lambda model: {})
    return WordsAsConfigs()


def stored(store: Path, run: str, score: float, trainable: int, status: str = "done") -> None:
    Store(store).write(RunRecord(run=run, identity="0" * 64, status=status, seed=0, score=score, trainable=trainable,
                                 config={"task": {"main_metric": "accuracy"}}))


def never(runs: list[Run], jobs: int) -> list[tuple[str, str]]:
    raise AssertionError(f"nothing is to be trained, not {runs}")


def test_a_point_is_the_median_of_its_runs_at_their_number_of_parameters(
    tmp_path: Path, composed: WordsAsConfigs
) -> None:
    for seed, score in enumerate((80.0, 84.0, 83.0)):
        stored(tmp_path, f"mrpc-lora4-{seed}", score, 36864)
    stored(tmp_path, "mrpc-lora64-0", 79.0, 589824)
    stored(tmp_path, "rte-ft-0", 60.0, 22565376)
    stored(tmp_path, "rte-ft-1", 50.0, 22565376, "collapsed")
    last = sizes.report(configured(tmp_path, "train=false"), composed, never)
    found = pd.read_csv(tmp_path / "figures" / "figure2.csv").set_index(["task", "method", "size"])
    assert list(found.index) == [("rte", "ft", "all"), ("mrpc", "lora", "r=4"), ("mrpc", "lora", "r=64")]
    assert found.score.tolist() == [60.0, 83.0, 79.0]
    assert found.parameters.tolist() == [22565376, 36864, 589824]
    assert (found.seeds.tolist(), found.collapsed.tolist()) == ([1, 3, 1], [1, 0, 0])
    assert found.spread.iloc[1] == pytest.approx(2.0817, abs=1e-4)  # of 80, 84, 83, with n - 1
    assert len(last["missing"]) == 2 * 3 * (7 + 4) - 6  # tasks, seeds; ft, bitfit, lora at five ranks, four of one size
    assert {Path(file).suffix for file in last["files"]} == {".csv", ".md", ".png", ".pdf"}


def test_what_is_missing_is_trained_within_the_filters(tmp_path: Path, composed: WordsAsConfigs) -> None:
    def train(runs: list[Run], jobs: int) -> list[tuple[str, str]]:
        for run in runs:
            stored(tmp_path, run.name, 70.0, 1)
        return []

    last = sizes.report(configured(tmp_path, "tasks=[rte]", "methods=[lora]", "seeds=[0]"), composed, train)
    found = pd.read_csv(tmp_path / "figures" / "figure2.csv")
    assert found["size"].tolist() == ["r=1", "r=2", "r=4", "r=8", "r=64"]
    assert (set(found.task), set(found.method), set(found.seeds)) == ({"rte"}, {"lora"}, {1})
    assert (last["failed"], last["missing"]) == ([], [])  # of what was asked for


def test_the_suites_own_sizes_replace_the_artifacts(tmp_path: Path, composed: WordsAsConfigs) -> None:
    own = configured(tmp_path, "+suite.artifacts.figure2.sizes.lora={tiny:{method.rank:3}}", "train=false")
    stored(tmp_path, "mrpc-lora3-0", 71.0, 27648)
    sizes.report(own, composed, never)
    assert pd.read_csv(tmp_path / "figures" / "figure2.csv")[["size", "score"]].to_numpy().tolist() == [["tiny", 71.0]]


def test_runs_of_one_size_with_different_numbers_of_parameters_are_no_point(
    tmp_path: Path, composed: WordsAsConfigs
) -> None:
    stored(tmp_path, "rte-lora8-0", 60.0, 100)
    stored(tmp_path, "rte-lora8-1", 60.0, 200)
    with pytest.raises(ValueError, match=r"lora r=8 have \['100', '200'\] trainable parameters"):
        sizes.report(configured(tmp_path, "train=false"), composed, never)


def test_without_a_run_nothing_is_drawn_and_all_is_named(tmp_path: Path, composed: WordsAsConfigs) -> None:
    last = sizes.report(configured(tmp_path, "train=false"), composed, never)
    assert (last["files"], len(last["missing"])) == ([], 2 * 3 * 11)
    assert last["notes"] == [f"figure2: no run of suite minilm in {tmp_path} has a score"]
    json.dumps(last)


def test_a_suite_in_which_nothing_stands_for_the_papers_model_says_so(
    tmp_path: Path, composed: WordsAsConfigs, caplog: pytest.LogCaptureFixture
) -> None:
    last = sizes.report(configured(tmp_path, "suite=paper"), composed, never)
    assert last["notes"] == ["figure2: in suite paper nothing stands for gpt3, wikisql"]
    assert last["notes"][0] in caplog.text


def test_the_papers_points_are_those_of_its_table_15(shared: Path) -> None:
    artifact = read_artifact(sizes.SizesArtifact, configured(Path("store")))
    printed = pd.read_csv(shared / "paper" / "table15_gpt3_sweep.csv", dtype=str).fillna("")
    wikisql, mnli = sizes.of_paper(artifact, printed.to_dict("records"))  # type: ignore[arg-type]
    assert wikisql.methods["Full fine-tuning"] == [Point(175e9, 73.8)]  # tables 4 and 15
    assert Point(37.7e6, 91.6, targets="q,v") in mnli.methods["LoRA"]
    assert [(point.parameters, point.targets) for point in mnli.methods["LoRA"][:4]] == [
        (4.7e6, "v"), (4.7e6, "q,v"), (9.4e6, "q,v"), (9.4e6, "q,k,v,o")]
    assert {point.targets for point in mnli.methods["LoRA + prefix layer"]} == {"q,v"}
    assert {point.targets for point in mnli.methods["Prefix layer"]} == {""}
    assert sum(map(len, mnli.methods.values())) == len(printed)


def drawn(line: Line2D) -> list[list[float]]:
    return np.asarray(line.get_xydata()).tolist()


def test_a_panel_shows_the_points_from_the_smallest_with_whiskers_on_a_logarithmic_axis() -> None:
    figure = sizes_figure([[Scores("a", "accuracy", {"lora": [Point(1e4, 81, 2.0), Point(1e3, 80, 1.0)]})],
                           [Scores("b", "accuracy", {"ft": [Point(1e6, 90)], "lora": [Point(1e5, 85)]})]], "caption")
    upper, lower = (axes for axes in figure.axes if axes.get_title())
    line, (whiskers,) = upper.lines[0], upper.collections
    assert isinstance(whiskers, LineCollection)
    assert drawn(line) == [[1e3, 80], [1e4, 81]]
    assert [segment[:, 1].tolist() for segment in whiskers.get_segments()] == [[79, 81], [79, 83]]
    assert (upper.get_xscale(), upper.get_ylabel()) == ("log", "accuracy")
    colours = [[each.get_color() for each in axes.lines if len(drawn(each))] for axes in (upper, lower)]
    assert colours[0][0] in colours[1]  # lora in both panels
    assert len(set(colours[1])) == 2
    legends = [[text.get_text() for text in part.legends[0].get_texts()] for part in figure.subfigs]
    assert legends == [["lora"], ["lora", "ft"]]  # of the methods in the row


def test_a_point_without_a_spread_has_no_whisker() -> None:
    ft, lora = [Point(1e6, 90)], [Point(1e4, 80), Point(1e5, 85, 2.0)]
    figure = sizes_figure([[Scores("a", "accuracy", {"ft": ft, "lora": lora}),
                            Scores("b", "accuracy", {"ft": ft, "lora": lora[:1]})]], "caption")
    known, unknown = (axes for axes in figure.axes if axes.get_title())
    (whiskers,) = known.collections
    assert [segment[:, 1].tolist() for segment in whiskers.get_segments()] == [[83, 87]]  # type: ignore[attr-defined]
    caps = [line for line in known.lines if line.get_marker() in ("_", 2, 3)]
    assert [drawn(cap) for cap in caps] == [[[1e5, 83]], [[1e5, 87]]]
    assert (len(unknown.collections), len(unknown.lines)) == (0, 2)


def test_a_line_joins_sizes_of_the_same_targets() -> None:
    points = [Point(4, 91, targets="v"), Point(4, 90, targets="q,v"), Point(8, 92, targets="q,k,v,o"),
              Point(8, 91, targets="q,v"), Point(16, 93, targets="q,k,v,o")]
    figure = sizes_figure([[Scores("a", "accuracy", {"lora": points})]], "caption")
    (axes,) = (axes for axes in figure.axes if axes.get_title())
    assert [drawn(line) for line in axes.lines] == [[[4, 91]], [[4, 90], [8, 91]], [[8, 92], [16, 93]]]
    assert len({(line.get_color(), line.get_marker()) for line in axes.lines}) == 1
    assert len({line.get_linestyle() for line in axes.lines}) == 3
    assert [text.get_text() for text in figure.subfigs[0].legends[0].get_texts()] == [
        "lora (v)", "lora (q,v)", "lora (q,k,v,o)"]


def test_methods_of_one_size_stand_side_by_side() -> None:
    at = side_by_side({"lora": [Point(1e4, 80), Point(1e6, 81)], "bitfit": [Point(1e4, 82)], "ft": [Point(1e8, 83)]})
    assert at["lora", 1e4] < 1e4 < at["bitfit", 1e4]
    assert at["lora", 1e4] * at["bitfit", 1e4] == pytest.approx(1e8)  # as far below as above
    assert (at["lora", 1e6], at["ft", 1e8]) == (1e6, 1e8)
