"""What wandb is given, read back from an offline run's file; and that no failure of wandb ends a run."""

import json
import logging
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from hydra.types import RunMode
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf

from experiments.store import logger as logger_module
from experiments.store.logger import Logger, artifact_name
from experiments.store.paths import CONF
from experiments.tables.publish_study import save_figure
from tests.experiments.made import compose
from tests.experiments.store.made import records, values, wandb


def logger_config(mode: str = "offline") -> DictConfig:
    config = OmegaConf.load(CONF / "logger" / "default.yaml")
    config.wandb.mode = mode
    assert isinstance(config, DictConfig)
    return config


def test_an_offline_run_holds_config_steps_epochs_summary_table_picture_and_adapter(tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter.json").write_text("{}")
    (picture,) = save_figure(Figure(figsize=(1, 1)), tmp_path, "curve", formats=["png"])
    page = tmp_path / "report.htm"  # a name from which wandb alone would not tell that it is a page
    page.write_text("<!doctype html><title>Δ</title>", encoding="utf-8")
    with Logger(logger_config(), "mrpc-lora", {"seed": 3, "method": {"rank": 8}}, tmp_path / "run") as logger:
        for step in range(1, 4):
            logger.log_step(step, {"loss": 1 / step})
        logger.log_epoch(1, {"accuracy": 86.5})
        logger.log_table("runs", pd.DataFrame({"run": ["a", "b"], "score": [1.5, None]}))
        logger.log_picture("curve", picture)
        logger.log_page("report", page)
        logger.log_adapter(adapter)
        logger.log_summary({"score": 86.5, "trainable": 294912})
    wandb.teardown()  # ends the service process, which writes what it still holds
    (file,) = (tmp_path / "run").glob("wandb/offline-run-*/*.wandb")
    found = list(records(file))
    kinds = [record.WhichOneof("record_type") for record in found]
    run = found[kinds.index("run")].run
    assert (run.display_name, run.project, run.job_type) == ("mrpc-lora", "lora-lab", "train")
    config = values(run.config.update)
    assert (config["seed"], config["method"]) == (3, {"rank": 8})
    history = [values(record.history.item) for record in found]
    assert [row["train/loss"] for row in history if "train/loss" in row] == [1, 1 / 2, 1 / 3]
    assert [row["train/step"] for row in history if "train/step" in row] == [1, 2, 3]
    assert [row["epoch/accuracy"] for row in history if "epoch/accuracy" in row] == [86.5]
    (kept_picture,) = (tmp_path / "run").glob("wandb/offline-run-*/files/media/images/curve_*.png")
    assert kept_picture.read_bytes() == picture.read_bytes()
    (kept_page,) = (tmp_path / "run").glob("wandb/offline-run-*/files/media/html/report_*.html")
    assert kept_page.read_bytes() == page.read_bytes()
    axes = {record.metric.glob_name: record.metric.step_metric for record in found}
    assert axes["train/*"] == "train/step"
    assert axes["epoch/*"] == "epoch/epoch"
    summary: dict[str, Any] = {}
    for record in found:
        summary |= values(record.summary.update)
    assert (summary["score"], summary["trainable"]) == (86.5, 294912)
    artifacts = [record.artifact for record in found if record.HasField("artifact")]
    kept = {artifact.type: [entry.path for entry in artifact.manifest.contents] for artifact in artifacts}
    assert kept["adapter"] == ["adapter.json"]
    (table,) = (tmp_path / "run").glob("wandb/offline-run-*/files/media/table/*.json")
    assert json.loads(table.read_text())["data"] == [["a", 1.5], ["b", None]]


def test_nothing_is_written_to_the_working_folder_or_the_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    for run in ("first", "second"):
        with Logger(logger_config(), run, {}, tmp_path / "run") as logger:
            logger.log_step(1, {"loss": 1.0})
    assert os.listdir() == []
    assert capfd.readouterr() == ("", "")
    assert len(list((tmp_path / "run").glob("wandb/offline-run-*"))) == 2


def test_an_unknown_mode_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"logger.wandb.mode 'ofline' .* did you mean 'offline'"):
        Logger(logger_config("ofline"), "run", {}, tmp_path)


def test_a_disabled_logger_does_not_import_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # an import would raise
    with Logger(logger_config("disabled"), "run", {}, tmp_path / "run") as logger:
        logger.log_step(1, {"loss": 1.0})
    assert not (tmp_path / "run").exists()


def test_a_missing_wandb_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    use_everything(tmp_path)
    assert warnings_of(caplog) == 1


@pytest.mark.parametrize(
    "point", ["init", "Artifact.add_file", "Table", "Run.log", "Run.finish", "Run.log_artifact"]
)
def test_a_failure_of_wandb_at_any_point_is_one_warning_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, point: str
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise wandb.errors.CommError("the cable is cut")

    monkeypatch.setattr(f"wandb.{point}", fail)
    use_everything(tmp_path)
    assert warnings_of(caplog) == 1
    assert "the cable is cut" in caplog.text


def test_an_adapter_of_a_long_name_is_shortened_and_what_wandb_refuses_costs_no_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = f"{'reviews_of_customers_' * 8}-minilm-lora-r8-qv-seed0-"
    names = [artifact_name(f"{long}{identity}") for identity in ("1a2b3c4d", "5e6f7a8b")]
    assert max(map(len, names)) == 128
    assert [name[-8:] for name in names] == ["1a2b3c4d", "5e6f7a8b"]
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter.json").write_text("{}")
    with Logger(logger_config(), f"{long}1a2b3c4d", {}, tmp_path / "run") as logger:
        logger.log_adapter(tmp_path / "adapter")
        monkeypatch.setattr("wandb.Artifact", None)
        logger.log_adapter(tmp_path / "adapter")  # fails
        logger.log_summary({"merge_error": 0.25})
    wandb.teardown()
    (file,) = (tmp_path / "run").glob("wandb/offline-run-*/*.wandb")
    found = list(records(file))
    assert [record.artifact.name for record in found if record.HasField("artifact")
            and record.artifact.type == "adapter"] == names[:1]
    assert {"merge_error": 0.25}.items() <= {key: value for record in found
                                             for key, value in values(record.summary.update).items()}.items()
    assert [record.exit.exit_code for record in found if record.HasField("exit")] == [0]


def test_wandbs_environment_variables_fill_the_keys_that_the_command_line_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"WANDB_MODE": "disabled", "WANDB_PROJECT": "mine", "WANDB_DIR": str(tmp_path / "elsewhere")}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert compose("logger.wandb.project=other").logger.wandb == {
        "mode": "disabled", "project": "other", "entity": None, "group": None, "tags": [],
        "dir": variables["WANDB_DIR"]}
    with Logger(compose("logger.wandb.mode=offline").logger, "run", {}, tmp_path / "run"):
        pass
    wandb.teardown()
    assert list((tmp_path / "elsewhere").glob("wandb/offline-run-*/*.wandb"))
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv("WANDB_MODE", "")
    assert compose().logger.wandb.mode == "offline"


def test_variables_of_wandb_that_are_not_used_are_named(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("WANDB_NAME", "mine")
    monkeypatch.delenv("WANDB_TAGS", raising=False)
    logger_module._tell_what_is_not_read.cache_clear()
    for _ in range(2):
        logger_module._tell_what_is_not_read()
    assert caplog.messages == ["the environment variable WANDB_NAME is not used: a run is called there as in its store"]


def use_everything(folder: Path) -> None:
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter.json").write_text("{}")
    with Logger(logger_config(), "run", {}, folder / "run") as logger:
        logger.log_step(1, {"loss": 1.0})
        logger.log_epoch(1, {"accuracy": 1.0})
        logger.log_table("runs", pd.DataFrame({"run": ["a"]}))
        logger.log_adapter(folder / "adapter")
        logger.log_summary({"score": 1.0})


def warnings_of(caplog: pytest.LogCaptureFixture) -> int:
    ours = [record for record in caplog.records if record.name == "experiments.store.logger"]
    return sum(record.levelno == logging.WARNING for record in ours)


def test_a_job_of_a_sweep_has_the_sweep_as_its_group_and_its_overrides_as_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    job = OmegaConf.create({"sweep": {"dir": "results/local/sweeps/2026-01-01_1"}, "overrides": {"task": [
        "method.rank=4", "++seed=1", "store=elsewhere", "logger.wandb.mode=offline"]}})
    monkeypatch.setattr(logger_module, "HydraConfig", SimpleNamespace(
        initialized=lambda: True, get=lambda: SimpleNamespace(mode=RunMode.MULTIRUN, **job)))
    assert logger_module._sweep() == ("2026-01-01_1", ["method.rank=4", "seed=1"])


def test_how_to_send_what_wandb_holds_is_told_once_a_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for run in ("first", "second"):
        with Logger(logger_config(), run, {}, tmp_path / "run"):
            pass
    assert caplog.text.count("wandb sync") == 1
