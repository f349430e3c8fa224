"""Which runs the figures of section 7 need, and what is refused before any of them is trained."""

import inspect
from pathlib import Path

import pytest
from hydra.errors import InstantiationException

from experiments import paper
from experiments.artifacts.studies import runs as studies
from experiments.config.compose import train_configs
from experiments.config.entry import explain
from tests.experiments.artifacts.studies.made import configured, report
from tests.experiments.made import NamedRuns, WordsAsConfigs, compose


@pytest.fixture
def given(tiny_run: list[str]) -> list[str]:
    return [*tiny_run, "trainer.save_checkpoints=false"]


@pytest.mark.parametrize(("names", "runs"), [
    (["figure3"], {(8, 0), (64, 1), (8, 1), (64, 0)}), (["figure4"], {(64, 0), (64, 1)}),
    (["figure3", "figure4", "figure8", "table7"], {(rank, seed) for rank in (4, 8, 64) for seed in (0, 1)})])
def test_on_minilm_the_figures_share_their_runs(names: list[str], runs: set, tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch):
    def name(cfg):
        words = [cfg[key] for key in ("task", "model", "preset", "method.targets")]
        return "-".join([*words, f"r{cfg['method.rank']}", f"seed{cfg['seed']}"])

    monkeypatch.setattr("experiments.artifacts.plan.all_seeds", lambda cfg, known: NamedRuns(name))
    monkeypatch.setattr("experiments.artifacts.plan.model_identity", lambda model: {})
    missing = set()
    for artifact in names:
        cfg = compose(f"artifact={artifact}", "suite=minilm", f"store={tmp_path}", "train=false", config="paper")
        missing |= set(studies.report(cfg, WordsAsConfigs(), lambda runs, jobs: {})["missing"])
    assert missing == {f"mrpc-minilm-minilm-['q', 'v']-r{rank}-seed{seed}" for rank, seed in runs}
    assert not list(tmp_path.iterdir())


def test_targets_are_those_of_table_6s_runs():
    assert compose("method.targets=['q', 'v']").method == compose("method.targets=[q,v]").method


@pytest.mark.parametrize(("override", "message"), [
    ("artifact.study.roles=[k]", "role of figure3 that its runs train 'k' is not one of q, v"),
    ("artifact.study.layers=midle", "did you mean 'middle'?"), ("artifact.study.layers=[]", "are neither numbers"),
    ("artifact.study.which=C", "which 'C' is not one of A, B, dW"),
    ("artifact.study.pairs=[[[2,0]]]", "are not pairs of [rank, seed]"),
    ("artifact.study.pairs=[[[2,0],[9,1]],[[9,1],[2,0]]]", "have two runs twice, in one order or both"),
    ("artifact.study.pairs=[[[0,1],[2,0]]]", "run [0, 1] is not [rank, seed]"),
    ("suite.models.gpt3=lokal", "suite nano: model 'lokal' is not one of"),
    ("models=[roberta]", "model of suite nano 'roberta' is not one of"),
    ("artifact.run.task=mnlj", "suite nano has nothing for figure3: model gpt3, task mnlj, method lora"),
])
def test_a_wrong_choice_is_named_before_any_training(override: str, message: str, tmp_path: Path, given: list[str]):
    def untrained(runs, jobs):
        pytest.fail("trained")

    cfg = configured("figure3", tmp_path, given, override)
    with train_configs() as compose_train, pytest.raises((ValueError, InstantiationException)) as raised:
        studies.report(cfg, compose_train, untrained)
    assert message in explain(raised.value)


def test_a_model_that_is_not_there_is_named(tmp_path: Path, given: list[str]):
    absent = [line if not line.startswith("model.path") else f"model.path={tmp_path / 'absent'}" for line in given]
    with pytest.raises(FileNotFoundError, match=r"figure3 of suite nano needs local, which is not there: .*absent"):
        report(configured("figure3", tmp_path, absent))


def test_an_unknown_kind_of_artifact_is_named(tmp_path: Path):
    cfg = compose("artifact.kind=studdy", config="paper")
    with pytest.raises(ValueError, match=r"kind 'studdy' is not one of costs, counts, .*; did you mean 'study'"):
        inspect.unwrap(paper.main)(cfg)
