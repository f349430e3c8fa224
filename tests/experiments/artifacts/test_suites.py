"""What artifacts and suites name is there, and nano has a miniature of all that the paper has."""

import pandas as pd
import pytest
from omegaconf import OmegaConf

from experiments.artifacts.artifact import read_paper, read_rows
from experiments.config.presets import presets
from experiments.store.paths import CONF


@pytest.mark.parametrize("path", sorted((CONF / "artifact").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_artifact_file_names_itself_and_columns_that_its_csv_has(path):
    artifact = OmegaConf.to_container(OmegaConf.load(path))
    assert artifact["name"] == path.stem
    if artifact["kind"] == "scores":
        assert read_paper(artifact)
    elif artifact["paper"] is not None:  # a figure has no numbers in print
        assert read_rows(artifact["paper"])


@pytest.mark.parametrize("path", sorted((CONF / "suite").glob("*.yaml")), ids=lambda path: path.stem)
def test_what_a_suite_names_exists(path):
    suite = OmegaConf.load(path)
    assert suite.name == path.stem
    own = [suite, *suite.artifacts.values()]
    for group in ("model", "task"):
        named = {name for part in own for name in part.get(f"{group}s", {}).values()}
        assert named <= {file.stem for file in (CONF / group).glob("*.yaml")}
    assert set(suite.methods) <= {file.stem for file in (CONF / "method").glob("*.yaml")}
    assert {suite.preset, *suite.presets.values()} <= set(presets())


def test_nano_has_a_miniature_of_every_model_and_task_of_the_paper():
    suite = OmegaConf.load(CONF / "suite" / "nano.yaml")
    tables = [pd.read_csv(path, dtype=str) for path in (CONF / "paper").glob("*.csv")]
    named = {model for table in tables if "model" in table for model in table.model.dropna()}
    assert set(suite.models) == named | {"gpt3"}
    tasks = {path.stem.removesuffix("-nano") for path in (CONF / "task").glob("*-nano.yaml")}
    assert set(suite.tasks) == tasks
    assert len(tasks) == 13
    assert all(ours == f"{theirs}-nano" for theirs, ours in suite.tasks.items())
