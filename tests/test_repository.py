"""The files around the packages: the commands of the Makefile, and the files that git leaves out."""

import re
import shlex
import subprocess

import pytest
from hydra.types import RunMode
from omegaconf import OmegaConf

from experiments.config.overrides import CommandLine
from experiments.store.paths import CONF
from tests.conftest import ROOT

MAKEFILE = (ROOT / "Makefile").read_text().replace("\\\n", " ")


def recipe(target: str) -> list[str]:
    """The words of a target's command after `python -m`, entry point first."""
    match = re.search(rf"^{target}:.*\n\t\$\(RUN\) experiments\.(.*)$", MAKEFILE, re.MULTILINE)
    assert match
    return shlex.split(match[1])


def test_make_pretrain_trains_every_model_that_has_settings_for_it() -> None:
    match = re.search(r"^NANO := (.*)$", MAKEFILE, re.MULTILINE)
    assert match
    named = match[1].split(",")
    files = (CONF / "model").glob("*.yaml")
    assert sorted(named) == sorted(path.stem for path in files if "pretraining" in OmegaConf.load(path))
    assert recipe("pretrain")[:3] == ["pretrain", "-m", "model=$(NANO)"]


def test_make_demo_is_a_command_that_composes() -> None:
    name, *words = recipe("demo")
    line = CommandLine(name, CONF, words)
    cfg = line.loader.load_configuration(name, line.checked(), RunMode.RUN)
    assert (cfg.artifact.name, cfg.suite.name) == ("table2", "nano")
    assert set(cfg.models) <= set(cfg.suite.models.values())
    assert set(cfg.tasks) <= set(cfg.suite.tasks.values())
    assert (len(cfg.tasks), cfg.train) == (3, True)


@pytest.mark.parametrize("store", ["results/nano", "results/nano/gates", "results/nano/learning_rates/gpt2"])
def test_git_leaves_out_what_every_store_works_with_and_no_record(store: str) -> None:
    working = [f"{store}/{folder}/x" for folder in ("adapters", "checkpoints", "locks", "sweeps")]
    kept = [f"{store}/runs/x.json", f"{store}/tables/x.md"]
    ended = subprocess.run(["git", "check-ignore", "--no-index", *working, *kept], cwd=ROOT, capture_output=True,
                           text=True, check=False)
    if ended.returncode > 1:
        pytest.skip("needs git and a checkout")
    assert ended.stdout.split() == working


def test_no_committed_record_names_a_folder_of_one_machine() -> None:
    """Paths in records and tables are relative to the repository."""
    files = [path for kind in ("json", "csv", "md") for path in (ROOT / "results").rglob(f"*.{kind}")
             if not {"local", "adapters", "checkpoints"} & set(path.parts)]
    assert len(files) > 100
    assert not [path for path in files if re.search(r'(?<![\w.])/(work|tmp|home|root)/', path.read_text())]
