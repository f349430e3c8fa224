"""What artifacts and suites name is there, and nano has a miniature of all that the paper has."""

from importlib import import_module

import pandas as pd
import pytest
from omegaconf import OmegaConf

from experiments import paper
from experiments.artifacts.artifact import read_artifact, read_rows
from experiments.artifacts.kinds.costs import CostsArtifact
from experiments.artifacts.kinds.counts import CountsArtifact
from experiments.artifacts.kinds.latency import LatencyArtifact
from experiments.artifacts.kinds.scores import ScoresArtifact
from experiments.artifacts.kinds.sizes import SizesArtifact
from experiments.artifacts.studies.runs import StudyArtifact
from experiments.artifacts.suite import read_suite
from experiments.config.compose import train_configs
from experiments.config.presets import presets
from experiments.store.paths import CONF
from tests.experiments.artifacts.made import configured, no_training, read_only
from tests.experiments.made import compose

ARTIFACTS = sorted(path.stem for path in (CONF / "artifact").glob("[!_]*.yaml"))
SUITES = sorted(path.stem for path in (CONF / "suite").glob("[!_]*.yaml"))
DATACLASSES = {"scores": ScoresArtifact, "sizes": SizesArtifact, "study": StudyArtifact, "counts": CountsArtifact,
               "costs": CostsArtifact, "latency": LatencyArtifact}


@pytest.mark.parametrize("name", ARTIFACTS)
def test_every_artifact_file_is_whole_and_names_itself_and_columns_that_its_csv_has(name):
    cfg = compose(f"artifact={name}", config="paper")
    artifact = read_artifact(DATACLASSES[cfg.artifact.kind], cfg)
    assert artifact.name == name
    if isinstance(artifact, ScoresArtifact | SizesArtifact):
        assert artifact.printed()
    elif getattr(artifact, "paper", None) is not None:  # a figure has no numbers in print
        assert read_rows(artifact.paper)


@pytest.mark.parametrize("name", SUITES)
@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_what_a_suite_names_exists(name, artifact):
    suite = read_suite(compose(f"suite={name}", config="paper"), artifact)
    assert suite.name == name
    assert {suite.preset, *suite.presets.values()} <= set(presets())


@pytest.mark.parametrize(("kind", "changes", "message"), [
    (ScoresArtifact, {"digit": 1}, "artifact/table2.yaml: key 'digit' is not one of .*; did you mean 'digits'"),
    (ScoresArtifact, {"digits": "one"}, "artifact/table2.yaml: digits: Value 'one' .* could not be converted"),
    (ScoresArtifact, {"digits": ...}, "artifact/table2.yaml lacks the key 'digits'; it needs name, kind, title, "),
    (ScoresArtifact, {"init_from": {"task": {}}}, "artifact/table2.yaml: init_from: "),
])
def test_a_key_of_an_artifact_that_is_missing_unknown_or_ill_typed_is_named(kind, changes, message):
    cfg = compose("artifact=table2", config="paper")
    OmegaConf.set_struct(cfg, False)
    for key, value in changes.items():
        if value is ...:
            del cfg.artifact[key]
        else:
            cfg.artifact[key] = value
    with pytest.raises(ValueError, match=message):
        read_artifact(kind, cfg)


@pytest.mark.parametrize(("override", "message"), [
    ("+suite.seed=[1]", "suite/nano.yaml: key 'seed' is not one of .*; did you mean 'seeds'"),
    ("suite.seeds=[one]", "suite/nano.yaml: seeds: Value 'one' .* could not be converted"),
    ("~suite.preset", "suite/nano.yaml lacks the key 'preset'; it needs name, store, preset"),
    ("+suite.artifacts.table2.row={}", "suite/nano.yaml: artifacts: table2: key 'row' .*; did you mean 'rows'"),
    ("+suite.artifacts.table2.rows={modle: [x]}", "suite nano: rows: column 'modle' .*; did you mean 'model'"),
])
def test_a_key_of_a_suite_that_is_missing_unknown_or_ill_typed_is_named(override, message, tmp_path, fake_runs):
    with pytest.raises(ValueError, match=message):
        read_only(tmp_path, fake_runs, "suite=nano", override)


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("name", [name for name in ARTIFACTS if name not in ("counts", "costs", "table1", "figure5")])
def test_every_artifact_of_every_suite_comes_out_or_says_why_not(name, suite, tmp_path, fake_runs):
    """Without training, from an empty store."""
    cfg = configured(tmp_path, f"artifact={name}", f"suite={suite}", "train=false")
    report = import_module(paper.KINDS[cfg.artifact.kind]).report
    last = report(cfg, fake_runs, no_training)
    assert (last["artifact"], last["suite"], last["failed"]) == (name, suite, [])
    assert last["missing"] or last.get("notes") or last["cells"] == 0


@pytest.mark.parametrize("name", ["table7", "figure3", "figure4", "figure6", "figure7", "figure8"])
def test_every_study_names_its_runs_on_the_papers_models(name, tmp_path):
    """With the configs as they are, without their weights: the paper's models are on the hub."""
    cfg = configured(tmp_path, f"artifact={name}", "suite=paper", "train=false")
    with train_configs() as compose_train:
        last = import_module(paper.KINDS["study"]).report(cfg, compose_train, no_training)
    assert last["missing"] == [*last["runs"]]
    assert all(run.startswith("mnli-roberta_large-lora-r") for run in last["runs"])


def test_nano_has_a_miniature_of_every_model_and_task_of_the_paper():
    suite = OmegaConf.load(CONF / "suite" / "nano.yaml")
    tables = [pd.read_csv(path, dtype=str) for path in (CONF / "paper").glob("*.csv")]
    named = {model for table in tables if "model" in table for model in table.model.dropna()}
    assert set(suite.models) == named | {"gpt3"}
    tasks = {path.stem.removesuffix("-nano") for path in (CONF / "task").glob("*-nano.yaml")}
    assert set(suite.tasks) == tasks
    assert len(tasks) == 13
    assert all(ours == f"{theirs}-nano" for theirs, ours in suite.tasks.items())
