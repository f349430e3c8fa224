"""What `pip install` takes of the repository: a wheel, installed, runs in an empty folder with a user's own configs."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from setuptools import find_packages

from tests.conftest import ROOT
from tests.experiments.made import write_rows

METHOD = """\
# LoRA of a class of the user's own
defaults: [lora]
_target_: own.Mine
name: mine
targets: [q]
"""
OWN = """\
from lora import LoRA


class Mine(LoRA):
    pass
"""


def test_every_package_is_installed() -> None:
    packages = {".".join(path.parent.relative_to(ROOT).parts)
                for top in ("analysis", "experiments", "lora") for path in (ROOT / top).rglob("*.py")}
    find = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    assert set(find_packages(str(ROOT), include=find["include"])) == packages


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the repository, where the build leaves its files."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("analysis", "conf", "experiments", "lora", "results/nano/pretrained"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    options = ("--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(copy / "dist"))
    subprocess.run([sys.executable, "-m", "pip", "wheel", str(copy), *options], check=True)
    return next((copy / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of an environment with the wheel and this environment's libraries."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    libraries = sysconfig.get_path("purelib")
    site_packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    (site_packages / "libraries.pth").write_text(f"{libraries}\n")
    bin_folder = Path(sysconfig.get_path("scripts", "venv", {"base": str(folder)}))
    python = str(bin_folder / "python")
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-compile", "--quiet",
                    "--force-reinstall", str(wheel)], check=True)
    return bin_folder


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(command, cwd=folder, env=environment | {"OMP_NUM_THREADS": "1"}, capture_output=True,
                          text=True, timeout=600)


def test_a_wheel_carries_configs_and_pretrained_models(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    committed = [path for folder in ("conf", "results/nano/pretrained") for path in (ROOT / folder).rglob("*.*")]
    assert len(committed) > 100
    assert {f"experiments/shipped/{path.relative_to(ROOT)}" for path in committed} <= set(names)
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"analysis", "experiments", "lora"}


def test_an_installed_command_trains_a_users_own_method_in_an_empty_folder(bin_folder: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "train.csv", 24, seed=1)
    write_rows(tmp_path / "test.csv", 16, seed=2)
    (tmp_path / "mine" / "method").mkdir(parents=True)
    (tmp_path / "mine" / "method" / "mine.yaml").write_text(METHOD)
    (tmp_path / "own.py").write_text(OWN)
    done = run(tmp_path, str(bin_folder / "lora-lab"), "train", "--config-dir", "mine", "method=mine", "preset=null",
               "model=roberta-nano", "task=classification", "task.files.train=train.csv",
               "task.files.validation=test.csv", "trainer.epochs=1", "trainer.precision=fp32",
               "logger.wandb.mode=disabled")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["status"] == "done"
    records = list((tmp_path / "results" / "local" / "runs").glob("*.json"))
    assert [path.stem for path in records] == [summary["run"]]


def test_an_installation_without_its_models_says_so(bin_folder: Path, tmp_path: Path) -> None:
    shipped = next(bin_folder.parent.rglob("experiments/shipped"))
    models, away = shipped / "results", shipped / "results_away"
    models.rename(away)
    done = run(tmp_path, str(bin_folder / "lora-lab"), "train", "logger.wandb.mode=disabled")
    away.rename(models)
    assert done.returncode == 1
    assert "results/nano/pretrained/roberta-nano" in done.stderr
