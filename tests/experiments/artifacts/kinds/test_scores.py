import inspect
import json
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from experiments import paper
from experiments.artifacts.artifact import read_artifact
from experiments.artifacts.kinds import scores
from experiments.artifacts.plan import plan
from experiments.artifacts.suite import read_suite
from experiments.config.compose import train_configs
from experiments.runs.identity import run_name
from experiments.store.paths import CONF
from experiments.store.store import Store
from tests.experiments.artifacts.made import configured, no_training, read_only, record
from tests.experiments.made import NamedRuns


def cells(store: Path, artifact: str = "table2") -> pd.DataFrame:
    frame = pd.read_csv(store / "tables" / f"{artifact}.csv", dtype={"paper": str})
    return frame.set_index([*[c for c in ("method", "task", "targets") if c in frame], "column"])


def test_table_2_has_the_rows_and_tasks_of_the_suite_with_the_papers_numbers(tmp_path, fake_runs, capsys):
    for seed, score in enumerate((85.0, 86.0, 89.0)):
        Store(tmp_path).write(record(f"mrpc-minilm-lora-minilm-seed{seed}", score))
    last = read_only(tmp_path, fake_runs)
    found = cells(tmp_path)
    methods = ("ft", "bitfit", "lora", "adapter_h", "adapter_p", "prefix_layer", "dora")  # four are the suite's own
    assert list(found.index) == [(m, t) for m in methods for t in ("mrpc", "rte")]
    assert found.paper.dropna().tolist() == ["90.2", "78.7", "92.7", "81.5", "89.7", "86.6"]  # table 2
    assert found.loc[("lora", "mrpc"), "ours"] == 86.0
    assert (last["cells"], last["filled"], last["failed"]) == (len(found), 1, [])
    assert len(last["missing"]) == 3 * len(found) - 3  # seeds
    printed = capsys.readouterr().out
    assert "86.0 ± 2.1 (3)" in printed
    assert "MiniLM stands for RoBERTa-base" in printed
    assert "average" not in printed  # six of its eight columns are absent


def test_without_empty_ones_a_table_has_the_rows_and_columns_of_its_runs(tmp_path, fake_runs):
    for method, task in (("lora", "mrpc"), ("bitfit", "mrpc"), ("lora", "rte")):
        Store(tmp_path).write(record(f"{task}-minilm-{method}-minilm-seed0"))
    last = read_only(tmp_path, fake_runs, "empty=false")
    assert list(cells(tmp_path).index) == [(m, t) for m in ("bitfit", "lora") for t in ("mrpc", "rte")]
    assert (last["cells"], last["filled"]) == (4, 3)
    Store(tmp_path).write(record("mrpc-minilm-ft-minilm-seed0", None, "failed", error={"message": "out of memory"}))
    assert read_only(tmp_path, fake_runs, "empty=false")["failed"] == ["mrpc-minilm-ft-minilm-seed0"]


def test_a_collapsed_run_is_kept_out_and_shown_and_a_failed_one_is_named(tmp_path, fake_runs, capsys):
    store = Store(tmp_path)
    store.write(record("mrpc-minilm-lora-minilm-seed0", 85.0))
    store.write(record("mrpc-minilm-lora-minilm-seed1", 31.0, "collapsed"))
    error = {"type": "ValueError", "message": "loss is NaN", "traceback": ""}
    store.write(record("mrpc-minilm-lora-minilm-seed2", None, "failed", error=error))
    last = read_only(tmp_path, fake_runs)
    assert last["collapsed"] == ["mrpc-minilm-lora-minilm-seed1"]
    assert last["failed"] == ["mrpc-minilm-lora-minilm-seed2"]
    printed = capsys.readouterr().out
    assert "85.0 (1, 1 collapsed)" in printed
    assert "failed: mrpc-minilm-lora-minilm-seed2: loss is NaN" in printed


def test_table_6_says_what_stands_for_gpt_3_and_finds_runs_by_rank_and_targets(tmp_path, fake_runs, capsys):
    Store(tmp_path).write(record("mrpc-minilm-lora64[q,v]-minilm-seed0", 84.0))
    read_only(tmp_path, fake_runs, "artifact=table6")
    found = cells(tmp_path, "table6")
    assert set(found.index.get_level_values("targets")) == {"q+v"}  # the one set of targets that the suite runs
    assert len(found) == 5  # ranks
    assert found.loc[("mnli", "q+v", "r64"), ["paper", "ours"]].tolist() == ["91.4", 84.0]
    notes = capsys.readouterr().out.splitlines()
    assert {"MiniLM stands for GPT-3 175B", "MRPC stands for MNLI"} <= set(notes)
    assert "suite minilm leaves out the rows of targets q, q+k+v+o" in notes


def test_the_paper_suite_takes_each_row_from_the_preset_that_made_its_number(tmp_path, fake_runs, capsys):
    last = read_only(tmp_path, fake_runs, "suite=paper")
    assert last["cells"] == len(cells(tmp_path)) > 0
    lora = [run for run in last["missing"] if "-lora-" in run]
    others = {run.split("-", 1)[1].rpartition("-")[0] for run in last["missing"] if run not in lora}
    assert others == {f"roberta-large-{adapter}-restricted"
                      for adapter in ("adapter_p64", "adapter_p16", "adapter_h64", "adapter_h8")}
    presets = {tuple([*run.split("-lora-")[0].split("-", 1)[1:], run.split("-")[-2]]) for run in lora}
    assert presets == {("roberta-base", "authors"), ("deberta-v2-xxlarge", "authors"),
                       ("roberta-large", "paper"), ("roberta-large", "restricted")}
    assert "average" in capsys.readouterr().out


def test_only_missing_and_failed_runs_within_the_filters_are_trained(tmp_path, fake_runs):
    store, asked = Store(tmp_path), []
    store.write(record("rte-minilm-lora-minilm-seed0"))
    store.write(record("rte-minilm-lora-minilm-seed1", None, "failed"))

    def train(runs, jobs):
        asked.extend((run.name, jobs) for run in runs)
        for run in runs[:-1]:
            store.write(record(run.name, 70.0))
        return [(runs[-1].name, "exit code -9")]

    cfg = configured(tmp_path, "tasks=[rte]", "methods=[lora]", "seeds=[0,1,7]", "jobs=2")
    last = scores.report(cfg, fake_runs, train)
    assert asked == [("rte-minilm-lora-minilm-seed1", 2), ("rte-minilm-lora-minilm-seed7", 2)]
    assert last["failed"] == ["rte-minilm-lora-minilm-seed7"]
    assert cells(tmp_path).loc[("lora", "rte"), ["ours", "seeds"]].tolist() == [75.0, 2]


def test_a_model_of_the_suite_can_be_trained_alone(tmp_path, fake_runs):
    asked = []

    def train(runs, jobs):
        asked.extend(run.name for run in runs)
        return {}

    filters = ("suite=nano", "models=[roberta-nano-large]", "tasks=[rte-nano]", "seeds=[0]")
    scores.report(configured(tmp_path, *filters), fake_runs, train)
    assert asked == [f"rte-nano-roberta-nano-large-{method}-nano-seed0" for method in (
        "ft", "lora", "adapter_p64", "adapter_p16", "adapter_h64", "adapter_h8")]  # table 2's rows
    with pytest.raises(ValueError, match=r"model of suite nano 'roberta-lage' .* 'roberta-nano-large'"):
        scores.report(configured(tmp_path, "suite=nano", "models=[roberta-lage]"), fake_runs, train)


def test_what_stands_for_what_is_two_notes(tmp_path, fake_runs):
    read_only(tmp_path, fake_runs, "suite=nano")
    notes = [line for line in (tmp_path / "tables" / "table2.md").read_text().splitlines() if "stands for" in line]
    assert len(notes) == 2
    assert notes[0] == ("- RoBERTa-nano stands for RoBERTa-base, RoBERTa-nano-large stands for RoBERTa-large, "
                        "DeBERTa-nano stands for DeBERTa-XXL")
    assert notes[1].count(" stands for ") == 8
    assert notes[1].startswith("- MNLI-nano stands for MNLI, ")


@pytest.fixture
def without_large(monkeypatch, fake_runs):
    """`fake_runs` where roberta-nano-large has no files."""

    def identity(model):
        if "roberta-nano-large" in model:
            raise FileNotFoundError("model folder there does not exist")

    monkeypatch.setattr("experiments.artifacts.plan.model_identity", identity)
    return fake_runs


def test_a_model_that_is_not_there_leaves_the_others_cells_and_is_named(tmp_path, without_large, caplog):
    Store(tmp_path).write(record("rte-nano-roberta-nano-lora-nano-seed0", 70.0))
    last = read_only(tmp_path, without_large, "suite=nano")
    assert last["filled"] == 1
    assert not any("roberta-nano-large" in run for run in last["missing"])
    assert last["unavailable"] == {"roberta-nano-large": "model folder there does not exist"}
    said = "roberta-nano-large is not there: model folder there does not exist"
    assert [line.getMessage() for line in caplog.records if line.levelname == "WARNING"] == [said]
    assert said in (tmp_path / "tables" / "table2.md").read_text()
    read_only(tmp_path, without_large, "suite=nano", "empty=false")
    assert said in (tmp_path / "tables" / "table2.md").read_text()


def test_a_model_that_is_asked_for_and_is_not_there_ends_it_before_any_training(tmp_path, without_large):
    asked = ("suite=nano", "models=[roberta-nano,roberta-nano-large]")
    with pytest.raises(FileNotFoundError, match="roberta-nano-large cannot be trained: model folder there does not"):
        scores.report(configured(tmp_path, *asked), without_large, no_training)
    assert read_only(tmp_path, without_large, *asked)["unavailable"].keys() == {"roberta-nano-large"}


def test_a_model_of_the_repository_that_is_not_whole_ends_it_before_anything_is_written(tmp_path, monkeypatch):
    def identity(model):
        raise FileNotFoundError(f"no tokenizer.json in {model.path}")

    monkeypatch.setattr("experiments.artifacts.plan.model_identity", identity)
    cfg = configured(tmp_path, "train=false", "suite=nano", "artifact=table6")
    with train_configs() as compose_train, pytest.raises(FileNotFoundError, match=r"no tokenizer\.json in .*nano"):
        scores.report(cfg, compose_train, no_training)
    assert not (tmp_path / "tables").exists()


def test_data_that_is_not_there_is_no_missing_model(tmp_path, fake_runs, monkeypatch):
    def name(cfg):
        raise FileNotFoundError("no file train.csv")

    monkeypatch.setattr("experiments.artifacts.plan.all_seeds", lambda cfg, known: NamedRuns(name))
    with pytest.raises(FileNotFoundError, match=r"no file train\.csv"):
        read_only(tmp_path, fake_runs)


def test_a_record_of_a_newer_schema_is_named_skipped_and_never_trained_over(tmp_path, fake_runs, caplog):
    name = "mrpc-minilm-lora-minilm-seed0"
    path = Store(tmp_path).write(record(name))
    path.write_text(json.dumps(asdict(replace(record(name), schema=99))))
    asked = []
    last = scores.report(configured(tmp_path), fake_runs, lambda runs, jobs: asked.extend(runs) or {})
    assert last["failed"] == [name]
    assert name not in [run.name for run in asked]
    assert "schema 99" in caplog.text
    assert "unreadable" in (tmp_path / "tables" / "table2.md").read_text()


@pytest.mark.parametrize(("suite", "sizes"), [
    ("nano", {("adapter_d", "0.9M"): {"bottleneck": "48"}, ("adapter_d", "0.3M"): {"bottleneck": "48",
              "dropped_layers": "3"}}),
    ("paper", {("adapter_p", "3.0M"): {"bottleneck": "64"}, ("adapter_p", "0.8M"): {"bottleneck": "16"},
               ("adapter_h", "6.0M"): {"bottleneck": "64"}, ("adapter_h", "0.8M"): {"bottleneck": "8"}})])
def test_rows_of_one_method_are_told_apart_by_the_printed_size(
    suite: str, sizes: dict[tuple[str, str], dict[str, str]], fake_runs, tmp_path
):
    cfg = configured(tmp_path, f"suite={suite}")
    artifact = read_artifact(scores.ScoresArtifact, cfg)
    printed = artifact.printed()
    planned, _ = plan(artifact.grid(), read_suite(cfg, "table2"), printed, [0], str(tmp_path), fake_runs)
    for cell in planned:
        row, (run,) = printed[cell.row], cell.runs
        found = dict(line.removeprefix("method.").split("=") for line in run.overrides if line.startswith("method."))
        wanted = sizes.get((row["method"], row["params_printed"]))
        if wanted is not None or row["method"] == "lora":
            assert found == (wanted or {}), row


@pytest.mark.parametrize(("override", "message"), [
    ("tasks=[rtee]", "task of suite minilm 'rtee' is not one of mrpc, rte; did you mean 'rte'?"),
    ("methods=[prefix]", "method of suite minilm 'prefix' is not one of adapter_h, adapter_p, "),
    ("artifact.average=averge", "column of table02_glue.csv 'averge' is not one of average, "),
    ("artifact.run.task='{tsk}'", "column of table02_glue.csv 'tsk'"),
    ("artifact.paper=table2_glue", "did you mean 'table02_glue'?"),
    ("artifact.aggregate=max", "aggregate 'max' is not one of mean, median"),
])
def test_a_wrong_word_is_named_with_the_nearest(tmp_path, fake_runs, override, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read_only(tmp_path, fake_runs, f"+{override}" if "run.task" in override else override)


@pytest.mark.parametrize(("override", "word", "nearest"), [
    ("suite.tasks.rte=rte-nanno", "task 'rte-nanno'", "'rte-nano'"),
    ("suite.models.roberta-base=minlm", "model 'minlm'", "'minilm'"),
    ("suite.methods=[lorra]", "method 'lorra'", "'lora'"),
])
def test_what_a_suite_names_wrongly_is_named_before_anything_is_composed(tmp_path, override, word, nearest):
    with pytest.raises(ValueError, match=f"suite minilm: {word} is not one of .*did you mean {nearest}"):
        scores.report(configured(tmp_path, override), no_training, no_training)


def test_a_row_that_the_suite_adds_stands_below_the_papers_with_ours_alone(tmp_path, fake_runs):
    more = "suite.artifacts.table2.more=[{model: roberta-base, method: pissa}]"
    Store(tmp_path).write(record("rte-minilm-pissa-minilm-seed0", score=61.0))
    read_only(tmp_path, fake_runs, more, "suite.methods=[lora,pissa]")
    lines = (tmp_path / "tables" / "table2.md").read_text().splitlines()
    *_, above, added = [line for line in lines if line.startswith("|")]
    assert above.split(" | ")[:3] == ["| MiniLM", "LoRA", "ours"]
    assert added == "| MiniLM | PiSSA | ours | 36,864 | – | 61.0 (1) |"
    assert pd.read_csv(tmp_path / "tables" / "table2.csv").query("method == 'pissa'").paper.isna().all()


def test_a_column_that_the_papers_table_lacks_is_named_in_a_row_that_the_suite_adds(tmp_path, fake_runs):
    with pytest.raises(ValueError, match=r"suite minilm, more: column 'metod' .*did you mean 'method'"):
        read_only(tmp_path, fake_runs, "suite.artifacts.table2.more=[{metod: lora}]")


def test_a_metric_that_a_run_lacks_is_named(tmp_path, fake_runs):
    Store(tmp_path).write(record("mrpc-minilm-lora-minilm-seed0"))
    with pytest.raises(ValueError, match=r"'metrics.acuracy' is not one of .* mean 'metrics.accuracy'"):
        read_only(tmp_path, fake_runs, "artifact.shows=metrics.acuracy")
    read_only(tmp_path, fake_runs, "artifact.shows=metrics.accuracy")
    assert cells(tmp_path).loc[("lora", "mrpc"), "ours"] == 1.0


def test_a_cell_is_the_run_that_the_training_command_line_would_make(tmp_path):
    """Planned through the configs as they are, with the model's shape in place of its weights."""
    wanted = ["model=roberta-base", "method=lora", "preset=authors", "seed=3", "model.init=random"]
    cfg = configured(tmp_path, "suite=paper", "train=false", "models=[roberta-base]", "methods=[lora]")
    OmegaConf.set_struct(cfg, False)
    cfg.artifact.run = OmegaConf.create({"model": "{model}", "method": "{method}", "model.init": "random"})
    with train_configs() as compose_train:
        first = run_name(compose_train([*wanted, "task=mnli"]))
        expected = run_name(compose_train([*wanted, "task=rte", f"init_from='{tmp_path / first}'"]))
        last = scores.report(cfg, compose_train, no_training)
    assert {first, expected} <= set(last["missing"])
    assert len(set(last["missing"])) == len(last["missing"])


def test_the_entry_point_reads_the_store_while_hydra_runs(tmp_path, monkeypatch):
    with initialize_config_dir(str(CONF), version_base=None):  # as inside a program of hydra's
        cfg = compose("paper", [f"store='{tmp_path}'", "suite=paper", "artifact=table6", "train=false",
                                "logger.wandb.mode=disabled"])
        last = inspect.unwrap(paper.main)(cfg)
        assert compose("paper").artifact.name == "table2"
    assert last["cells"] == 15


def test_an_altered_model_is_refused_at_planning(tmp_path):
    copy = Path(shutil.copytree(CONF.parent / "results" / "nano" / "pretrained" / "deberta-nano", tmp_path / "copy"))
    (copy / "tokenizer.json").write_text("{}")
    cfg = configured(tmp_path, "suite=nano", "+artifact.run={model.path: " + f"'{copy}'" + "}")
    cfg.suite.models = {"roberta-base": "deberta-nano"}
    with train_configs() as compose_train, pytest.raises(ValueError, match=r"tokenizer.json has sha256 .*altered"):
        scores.report(cfg, compose_train, no_training)
