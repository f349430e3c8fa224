"""A learning rate is chosen by its mean score, with as many runs for each method, and written where a run finds it."""

import json
import re
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import DictConfig, OmegaConf

from experiments import tune
from experiments.config import presets
from experiments.config.compose import train_configs
from experiments.runs.identity import Run, run_name
from experiments.store.paths import CONF
from experiments.sweeps import rates
from tests.experiments.sweeps.made import (
    FT,
    SMALL,
    composed,
    configured,
    fake_run,
    keep,
    keep_all,
    no_training,
    read_only,
)

PRESET = """\
model,method,task,rank,source,trainer.epochs,trainer.learning_rate,method.rank,method.alpha
*,lora,*,,"a guess, no sweep",4,2e-3,8,16
*,ft,*,,none, 4,5.0e-4,,
roberta-nano,ft,rte-nano,,other,9,7e-4,,
"""


@pytest.fixture(autouse=True)
def preset_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with one preset, `nano`."""
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "nano.csv").write_text(PRESET)
    monkeypatch.setattr(presets, "FOLDER", tmp_path / "presets")
    return tmp_path / "presets"


@pytest.fixture
def fake_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "planned_run", fake_run)


def lines(store: Path) -> pd.DataFrame:
    frame = pd.read_csv(store / "tables" / "roberta-nano.csv", dtype=object, keep_default_na=False)
    return frame.set_index(["method", "rank", "learning_rate"])


@pytest.mark.usefixtures("fake_names")
def test_the_rate_with_the_best_mean_over_the_tasks_is_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    outcomes = {"0.0001": [70.0, 50.0], "0.0002": [60.0, 64.0], "0.0004": [10.0, 80.0]}  # means 60, 62, 45
    keep_all(tmp_path, "ft", outcomes, ["cola-nano", "rte-nano"])
    last = read_only(tmp_path, *FT)
    assert last["chosen"] == [{"method": "ft", "rank": None, "learning_rate": 2e-4, "mean": 62.0, "edge": False}]
    assert (last["runs"], last["missing"], last["failed"]) == (6, [], [])
    assert lines(tmp_path).loc[("ft", "", "2e-4")].tolist() == ["60.0", "64.0", "62.0", "chosen"]
    assert lines(tmp_path).choice.tolist() == ["", "chosen", ""]
    assert re.search(r"Full fine-tuning +- +2e-4 +60.00 +64.00 +62.00 +chosen", capsys.readouterr().out)
    text = (tmp_path / "tables/roberta-nano.md").read_text()
    assert "| Full fine-tuning | - | 2e-4 | 60.00 | 64.00 | 62.00 | chosen |" in text
    assert [Path(file).name for file in last["files"]] == ["roberta-nano.md", "roberta-nano.csv", "roberta-nano.json"]


@pytest.mark.usefixtures("fake_names")
def test_of_a_loss_the_lowest_mean_is_chosen_of_equals_the_lowest_rate_and_the_end_of_a_grid_is_said(tmp_path: Path):
    outcomes = {"0.0001": [1.25, 3.0], "0.0002": [2.0, 2.25], "0.0004": [2.0, 3.5]}  # means 2.125, 2.125, 2.75
    keep_all(tmp_path, "ft", outcomes, ["e2e-nano", "webnlg-nano"])
    last = read_only(tmp_path, *FT, "tasks=[e2e-nano,webnlg-nano]", "rates.ft=[4e-4,2e-4,1e-4]")
    assert last["chosen"] == [{"method": "ft", "rank": None, "learning_rate": 1e-4, "mean": 2.125, "edge": True}]
    assert lines(tmp_path).choice.tolist() == ["chosen, edge", "", ""]
    assert "| 1.2500 | 3.0000 | 2.1250 | chosen, edge |" in (tmp_path / "tables/roberta-nano.md").read_text()


@pytest.mark.usefixtures("fake_names")
@pytest.mark.parametrize(("outcome", "shown"), [("collapsed", "collapsed"), ("failed", "failed"), (None, "")])
def test_a_rate_that_did_not_end_well_everywhere_is_not_chosen(tmp_path: Path, outcome: str | None, shown: str):
    outcomes = {"0.0001": [60.0, 60.0], "0.0002": [61.0, 61.0], "0.0004": [99.0, outcome]}
    keep_all(tmp_path, "ft", outcomes, ["cola-nano", "rte-nano"])
    last = read_only(tmp_path, *FT)
    assert (last["chosen"][0]["learning_rate"], last["chosen"][0]["edge"]) == (2e-4, False)
    assert lines(tmp_path).loc[("ft", "", "4e-4")].tolist() == ["99.0", shown, "", ""]
    assert last["missing"] == (["rte-nano-ft-0.0004"] if outcome is None else [])
    assert last["failed"] == (["rte-nano-ft-0.0004"] if outcome == "failed" else [])


@pytest.mark.usefixtures("fake_names")
def test_a_setting_without_a_rate_that_ran_well_fails_and_gets_no_row(tmp_path: Path, preset_folder: Path):
    tasks = ["cola-nano", "rte-nano"]
    keep_all(tmp_path, "ft", {rate: [60.0, 60.0] for rate in ("0.0001", "0.0002", "0.0004")}, tasks)
    keep_all(tmp_path, "lora1", {rate: [60.0, 60.0] for rate in ("0.001", "0.002", "0.005")}, tasks)
    keep_all(tmp_path, "lora8", {rate: [60.0, "collapsed"] for rate in ("0.001", "0.002", "0.005")}, tasks)
    last = read_only(tmp_path, *SMALL, "write=true")
    assert last["failed"] == ["lora rank 8"]
    assert [(one["method"], one["rank"]) for one in last["chosen"]] == [("ft", None), ("lora", 1)]
    assert lines(tmp_path).choice.tolist() == ["chosen, edge", "", "", "chosen, edge", "", "", *["no choice"] * 3]
    added = (preset_folder / "nano.csv").read_text().removeprefix(PRESET).splitlines()
    assert [line.split(",")[1:4] for line in added] == [["ft", "*", ""], ["lora", "*", "1"]]


@pytest.mark.usefixtures("fake_names")
def test_every_method_and_every_rank_has_the_same_number_of_runs(tmp_path: Path):
    (tmp_path / "presets/nano.csv").write_text(PRESET + "*,bitfit,*,,none,4,5e-3,,\n")
    last = read_only(tmp_path)
    of_setting = pd.Series([run.rpartition("-")[0].split("-", 2)[2] for run in last["missing"]]).value_counts()
    assert of_setting.to_dict() == dict.fromkeys(["ft", "bitfit", *(f"lora{rank}" for rank in (1, 2, 4, 8, 64))], 16)
    assert last["runs"] == 7 * 4 * 4


@pytest.mark.usefixtures("fake_names")
def test_only_missing_and_failed_runs_are_trained(tmp_path: Path):
    outcomes = {"0.0001": [60.0, "failed"], "0.0002": ["collapsed", None], "0.0004": [50.0, 50.0]}
    keep_all(tmp_path, "ft", outcomes, ["cola-nano", "rte-nano"])
    asked = []

    def train(runs: list[Run], jobs: int) -> list[tuple[str, str]]:
        asked.extend((run.name, jobs) for run in runs)
        keep(tmp_path, "rte-nano-ft-0.0001", 58.0)
        return [("rte-nano-ft-0.0002", "exit code -9")]  # killed: it leaves no record

    last = rates.report(configured(tmp_path, *FT, "jobs=2"), ["model=roberta-nano"], composed, train)
    assert asked == [("rte-nano-ft-0.0001", 2), ("rte-nano-ft-0.0002", 2)]
    assert (last["chosen"][0]["learning_rate"], last["chosen"][0]["mean"]) == (1e-4, 59.0)
    assert (last["failed"], last["missing"]) == (["rte-nano-ft-0.0002"], [])


@pytest.mark.usefixtures("fake_names")
@pytest.mark.parametrize(("overrides", "message"), [
    (["+rates.lora2=[1e-3,2e-3,3e-3]"], "method 'lora2' is not one of adapter_d, adapter_h, "),
    (["tasks=[rte-nan]"], "did you mean 'rte-nano'?"),
    (["preset=nanno"], "preset 'nanno' is not one of nano; did you mean 'nano'?"),
    (["rates.ft=[1e-4,2e-4]"], "one budget for all: each method needs the same number of rates, but ft has 2, lora"),
    (["rates.ft=[1e-4,2e-4,0.0001]"], "rates.ft: 0.0001 is there twice"),
    (["ranks=[1,8,1]"], "ranks: 1 is there twice"),
    (["tasks=[rte-nano,rte-nano]"], "tasks: 'rte-nano' is there twice"),
    (["~rates.ft", "~rates.lora"], "one budget for all"),
    (["tasks=[rte-nano,e2e-nano]"], "but rte-nano has accuracy, e2e-nano has loss"),
])
def test_what_cannot_be_swept_is_refused_before_any_training(tmp_path: Path, overrides: list[str], message: str):
    cfg = configured(tmp_path, *SMALL, *overrides)
    with pytest.raises(ValueError, match=re.escape(message)):
        rates.report(cfg, ["model=roberta-nano"], composed, no_training)


@pytest.mark.usefixtures("fake_names")
@pytest.mark.parametrize(("key", "message"), [
    ("source.rows.development", "it has train$"), ("evaluate_on", "it has no evaluate_on$")])
def test_a_task_without_development_rows_is_refused(tmp_path: Path, key: str, message: str):
    def without(overrides: list[str]) -> DictConfig:
        cfg = composed(overrides)
        parent, _, last = f"task.{key}".rpartition(".")
        OmegaConf.select(cfg, parent).pop(last)
        return cfg

    with pytest.raises(ValueError, match=f"task 'cola-nano' has no development rows, .*{message}"):
        rates.report(configured(tmp_path, *SMALL), ["model=roberta-nano"], without, no_training)


def keep_choice(store: Path) -> None:
    """Runs by which full fine-tuning takes 2e-4, rank 1 takes 5e-3 and rank 8 takes 1e-3."""
    tasks = ["cola-nano", "rte-nano"]
    keep_all(store, "ft", {"0.0001": [1.0, 1.0], "0.0002": [2.0, 2.0], "0.0004": [1.0, 1.0]}, tasks)
    keep_all(store, "lora1", {"0.001": [1.0, 1.0], "0.002": [2.0, 2.0], "0.005": [3.0, 3.0]}, tasks)
    keep_all(store, "lora8", {"0.001": [3.0, 3.0], "0.002": [2.0, 2.0], "0.005": [1.0, 1.0]}, tasks)


@pytest.mark.usefixtures("fake_names")
def test_the_choice_is_written_as_rows_of_the_model_and_all_others_stay(tmp_path: Path, preset_folder: Path):
    keep_choice(tmp_path)
    path = preset_folder / "nano.csv"
    assert str(path) not in read_only(tmp_path, *SMALL)["files"]
    assert path.read_text() == PRESET  # write=false
    expected = (f"{PRESET}roberta-nano,ft,*,,{tmp_path}, 4,2e-4,,\n"
                f"roberta-nano,lora,*,1,{tmp_path},4,5e-3,1,16\n"
                f"roberta-nano,lora,*,,{tmp_path},4,1e-3,8,16\n")
    for _ in range(2):  # the same choice again changes nothing
        assert read_only(tmp_path, *SMALL, "write=true")["files"][-1] == str(path)
        assert path.read_text() == expected


@pytest.mark.usefixtures("fake_names")
def test_a_row_that_the_model_has_is_replaced_where_it_stands(tmp_path: Path, preset_folder: Path):
    keep_choice(tmp_path)
    header, *others = PRESET.splitlines(keepends=True)
    own = "roberta-nano,lora,*,,old,6,7e-3,8,32\n"
    (preset_folder / "nano.csv").write_text("".join([header, own, *others]).rstrip("\n"))  # no end of its last line
    read_only(tmp_path, *SMALL, "write=true")
    written = (preset_folder / "nano.csv").read_text().splitlines(keepends=True)
    assert written[:5] == [header, f"roberta-nano,lora,*,,{tmp_path},6,1e-3,8,32\n", *others]
    assert written[6:] == [f"roberta-nano,lora,*,1,{tmp_path},6,5e-3,1,32\n"]  # rank 1 had been given its model's row


@pytest.mark.usefixtures("fake_names")
def test_a_preset_without_ranks_takes_the_rank_that_it_states_and_refuses_others(tmp_path: Path, preset_folder: Path):
    keep_choice(tmp_path)
    text = "model,method,task,source,trainer.learning_rate,method.rank\r\n*,*,*,none,2e-3,8\r\n"
    (preset_folder / "flat.csv").write_bytes(text.encode())
    with pytest.raises(ValueError, match="preset 'flat' has no column rank for the rate of lora rank 1"):
        rates.report(configured(tmp_path, *SMALL, "preset=flat", "write=true", "seed=7"), [], composed, no_training)
    read_only(tmp_path, *SMALL, "ranks=[8]", "preset=flat", "write=true")
    rows = [f"roberta-nano,ft,*,{tmp_path},2e-4,8\r\n", f"roberta-nano,lora,*,{tmp_path},1e-3,8\r\n"]
    assert (preset_folder / "flat.csv").read_bytes().decode() == "".join([text, *rows])


def test_a_run_is_the_one_of_its_command_line_and_is_found_again_after_the_choice_is_written(tmp_path: Path):
    """Through the configs as they are, with the model's shape in place of its weights."""
    model = ["model=roberta-nano", "model.init=random"]
    few = ["tasks=[sst2-nano]", "~rates.bitfit", "rates.ft=[1e-4,3e-4]", "rates.lora=[1e-3,3e-3]", "ranks=[1,8]"]
    asked: list[Run] = []

    def train(runs: list[Run], jobs: int) -> list[tuple[str, str]]:
        asked.extend(runs)
        for score, run in enumerate(runs):
            keep(tmp_path, run.name, float(score), run.identity)
        return []

    first, again = (configured(tmp_path, *few, "seed=3", last) for last in ("write=true", "train=false"))
    with train_configs() as compose_train:
        rates.report(first, model, compose_train, train)
        made = [compose_train(list(run.overrides)) for run in asked]
        assert [run_name(cfg) for cfg in made] == [run.name for run in asked]
        assert [(cfg.method.get("rank"), cfg.trainer.learning_rate) for cfg in made] == [
            (None, 1e-4), (None, 3e-4), (1, 1e-3), (1, 3e-3), (8, 1e-3), (8, 3e-3)]
        assert {(cfg.task.name, cfg.task.evaluate_on, cfg.seed, cfg.store, cfg.trainer.save_adapter, cfg.trainer.epochs)
                for cfg in made} == {("sst2-nano", "development", 3, str(tmp_path), False, 4)}
        last = rates.report(again, model, compose_train, no_training)
        assert (last["runs"], last["missing"], last["failed"]) == (6, [], [])
        chosen = compose_train([*model, "task=sst2-nano", "method=lora", "preset=nano"])
        assert (chosen.method.rank, chosen.trainer.learning_rate) == (8, 3e-3)
        assert presets.preset_row(chosen)["source"] == str(tmp_path)  # type: ignore[index]


def test_an_altered_model_is_refused_at_planning(tmp_path: Path):
    copy = Path(shutil.copytree(CONF.parent / "results" / "nano" / "pretrained" / "deberta-nano", tmp_path / "copy"))
    (copy / "config.json").write_text("{}")
    cfg, model = configured(tmp_path, *SMALL), ["model=deberta-nano", f"model.path='{copy}'"]
    with train_configs() as compose_train, pytest.raises(ValueError, match=r"config\.json has sha256 .*altered"):
        rates.report(cfg, model, compose_train, no_training)


def test_a_model_of_the_command_line_is_the_model_of_every_run(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    model = ["model=gpt2-nano", "model.init=random", "model.config.n_layer=1"]
    few = ["tasks=[e2e-nano]", "~rates.lora", "~rates.bitfit", "rates.ft=[1e-4]", "train=false", f"store={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["tune", *model, *few])
    with pytest.raises(SystemExit, match="1"):  # full fine-tuning has no choice
        tune.main()
    one = ["task=e2e-nano", "task.evaluate_on=development", "method=ft", "preset=nano", "trainer.learning_rate=1e-4"]
    with train_configs() as compose_train:
        expected = run_name(compose_train([*model, *one]))
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [last[key] for key in ("model", "missing", "failed")] == ["gpt2-nano", [expected], ["ft"]]
