"""Every file of conf/ composes into a config whose values are all there."""

import csv
import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from experiments.config.presets import parse
from experiments.store.paths import CONF
from experiments.tasks.generation import Generation
from experiments.training.limits import check_trainer
from lora.methods import Method
from tests.experiments.made import compose


@functools.cache
def names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@functools.cache
def preset_rows() -> list[tuple[str, dict[str, str]]]:
    """(preset, row) for each row of conf/presets whose model, method and task are files."""
    rows = []
    for path in sorted((CONF / "presets").glob("*.csv")):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                row["task"] = "mrpc" if row["task"] == "*" else row["task"]
                if all(row[group] in names(group) for group in ("model", "method", "task")):
                    rows.append((path.stem, row))
    return rows


def resolved(*overrides: str, config: str = "train") -> dict[str, Any]:
    return OmegaConf.to_container(compose(*overrides, config=config), resolve=True, throw_on_missing=True)  # type: ignore[return-value]


def paired() -> list[tuple[str, str]]:
    """Every model and every method at least once: neither file knows of the other, so not each with each."""
    models, methods = names("model"), names("method")
    return [(models[n % len(models)], methods[n % len(methods)]) for n in range(max(len(models), len(methods)))]


@pytest.mark.parametrize(("model", "method"), paired())
def test_every_model_and_every_method_composes(model: str, method: str) -> None:
    cfg = compose(f"model={model}", f"method={method}")
    OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(made := instantiate(cfg.method), Method)
    assert made.name == method
    assert cfg.model.name == model


@pytest.mark.parametrize("task", names("task"))
def test_every_task_composes(task: str, data_folder: Path) -> None:
    files = [f"task.files.train={data_folder / 'train.csv'}"] if task == "classification" else []
    made = instantiate(compose(f"task={task}", *files).task)
    regression, generation = task.startswith("stsb"), isinstance(made, Generation)
    kind = "regression" if regression else "causal_lm" if generation else "classification"
    assert (made.name, made.kind) == (task, kind)


@pytest.mark.parametrize("preset", sorted({preset for preset, _ in preset_rows()}))
def test_every_row_of_a_preset_fills_the_config(preset: str) -> None:
    rows = [row for name, row in preset_rows() if name == preset]
    for row in rows:
        size = "method.bottleneck" if row["method"].startswith("adapter") else "method.rank"
        given_size = [f"{size}={row['rank']}"] if row.get("rank") else []
        choices = [f"{group}={row[group]}" for group in ("model", "method", "task")]
        cfg = compose(f"preset={preset}", *choices, *given_size)
        OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
        check_trainer(cfg.trainer)
        stated = {key: parse(cell) for key, cell in row.items() if "." in key and cell}
        assert len(stated) >= 4
        assert {key: OmegaConf.select(cfg, key) for key in stated} == stated, choices


@pytest.mark.parametrize("group", ["trainer", "logger"])
def test_every_other_choice_composes(group: str) -> None:
    for name in names(group):
        resolved(f"{group}={name}")


@pytest.mark.parametrize("config", sorted({path.stem for path in CONF.glob("*.yaml")} - {"base", "names"}))
def test_every_entry_points_config_composes(config: str) -> None:
    resolved(config=config)


@pytest.mark.parametrize("group", ["artifact", "suite"])
def test_every_artifact_and_suite_composes(group: str) -> None:
    for name in names(group):
        resolved(f"{group}={name}", config="paper")


def test_configs_are_composed_without_a_command():
    code = "from experiments.config import compose\nwith compose.train_configs() as made: print(made([]).model.package)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "None\n"), ended.stderr
