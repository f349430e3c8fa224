"""Presets state what the paper and the released scripts state, and leave the rest to the defaults."""

import csv
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from experiments.config import presets
from tests.experiments.made import compose

KEYS = {
    "epochs": "trainer.epochs",
    "learning_rate": "trainer.learning_rate",
    "batch_size": "trainer.batch_size",
    "max_length": "trainer.max_length",
    "warmup_ratio": "trainer.warmup_ratio",
    "warmup_steps": "trainer.warmup_steps",
    "weight_decay": "trainer.weight_decay",
    "label_smoothing": "trainer.label_smoothing",
    "rank": "method.rank",
    "rank_or_bottleneck": "method.rank",
    "alpha": "method.alpha",
    "dropout": "method.dropout",
    "cls_dropout": "model.classifier_dropout",
}


def config(preset: str | None, model: str = "roberta-base", task: str = "mrpc") -> DictConfig:
    return OmegaConf.create(
        {
            "preset": preset,
            "model": {"name": model, "classifier_dropout": "${preset:model.classifier_dropout,null}"},
            "method": {"name": "lora", "rank": "${preset:method.rank}"},
            "task": {"name": task},
            "trainer": {
                "learning_rate": "${preset:trainer.learning_rate,5e-5}",
                "weight_decay": "${preset:trainer.weight_decay,0.25}",
                "warmup_ratio": "${preset:trainer.warmup_ratio,0.5}",
            },
        }
    )


@pytest.mark.parametrize(
    ("table", "model"),
    [("roberta", None), ("deberta", "deberta-v2-xxlarge"), ("gpt2", "gpt2-medium"), ("gpt2", "gpt2-large")],
)
def test_the_paper_preset_is_the_papers_table(table: str, model: str | None, shared: Path):
    with (shared / "paper" / f"hyperparameters_{table}.csv").open() as file:
        printed = [row for row in csv.DictReader(file) if row.get("method", "lora") == "lora"]
    for row in printed:
        preset = "restricted" if row.get("source") == "restricted" else "paper"
        stated = presets.values(presets.find_row(preset, model or row["model"], "lora", row["task"]))
        for key, cell in row.items():
            if key in KEYS:
                assert stated[KEYS[key]] == float(cell), (row, key)


@pytest.mark.parametrize("method", ["adapter_h", "adapter_p"])
def test_the_restricted_preset_has_the_papers_adapters_by_bottleneck(method: str, shared: Path):
    with (shared / "paper" / "hyperparameters_roberta.csv").open() as file:
        printed = [row for row in csv.DictReader(file) if row["method"] == method]
    assert len(printed) == 2 * 8
    for row in printed:
        given = row.pop("rank_or_bottleneck")
        cfg = compose(f"model={row['model']}", f"method={method}", f"method.bottleneck={given}", "preset=restricted",
                      f"task={row['task']}")
        stated = presets.values(presets.find_row("restricted", row["model"], method, row["task"], given))
        assert cfg.trainer.learning_rate == float(row["learning_rate"])
        assert stated["method.bottleneck"] == int(given)
        assert all(stated[KEYS[key]] == float(cell) for key, cell in row.items() if key in KEYS and cell)


def test_without_a_bottleneck_the_preset_gives_the_smaller_one():
    cfg = compose("model=roberta-large", "method=adapter_h", "preset=restricted", "task=mnli")
    assert (cfg.method.bottleneck, cfg.trainer.learning_rate) == (8, 3e-4)


@pytest.mark.parametrize(("method", "rate"), [
    ("ft", 5e-6), ("bitfit", 1.6e-3), ("lora", 2e-4), ("adapter_h", 1e-4)])
def test_gpt3s_rates_are_those_of_table_12(method: str, rate: float, shared: Path):
    with (shared / "paper" / "hyperparameters_gpt3.csv").open() as file:
        assert {row["method"]: float(row["learning_rate"]) for row in csv.DictReader(file)}[method] == rate
    for task in ("wikisql", "mnli", "samsum"):
        assert presets.values(presets.find_row("paper", "gpt3-175b", method, task))["trainer.learning_rate"] == rate


@pytest.mark.parametrize(
    ("model", "task", "expected"),
    [
        (
            "roberta-large",
            "stsb",
            {
                "trainer.epochs": (30, 10),
                "trainer.learning_rate": (2e-4, 3e-4),
                "trainer.batch_size": (8, 32),
                "trainer.max_length": (512, 128),
            },
        ),
        ("roberta-base", "cola", {"trainer.batch_size": (32, 64), "method.alpha": (8, 16)}),
        (
            "deberta-v2-xxlarge",
            "rte",
            {
                "trainer.learning_rate": (2e-4, 2.6e-4),
                "trainer.batch_size": (4, 32),
                "trainer.warmup_ratio": (0.1, None),
                "trainer.warmup_steps": (None, 50),
                "method.rank": (8, 16),
                "method.alpha": (8, 32),
            },
        ),
    ],
)
def test_the_diff_is_where_paper_and_scripts_disagree(model: str, task: str, expected: dict):
    """The bold values of the reading of microsoft/LoRA c4593f06; the rest is what only the scripts state."""
    differing = {key: (paper, authors) for key, paper, authors in presets.diff(model, "lora", task)}
    for key in ("trainer.gradient_clip", "method.dropout", "trainer.weight_decay"):
        if differing.get(key, (0,))[0] is None:
            del differing[key]
    assert differing == expected


def test_a_config_takes_the_presets_values():
    cfg = config("authors", "deberta-v2-xxlarge", "cola")
    assert cfg.method.rank == 16
    assert cfg.trainer.learning_rate == 1.3e-4
    assert cfg.model.classifier_dropout == 0.1
    assert cfg.trainer.warmup_ratio is None  # the script warms up by steps: null is a value, not a gap


def test_an_empty_cell_leaves_the_default():
    assert config("paper").trainer.weight_decay == 0.25  # table 9 has no weight decay
    assert config("paper").trainer.learning_rate == 4e-4


def test_without_a_preset_the_defaults_hold():
    cfg = config(None)
    assert cfg.trainer.learning_rate == 5e-5
    assert cfg.model.classifier_dropout is None
    assert presets.preset_row(cfg) is None
    with pytest.raises(Exception, match=r"no value for method\.rank, which has no default: preset is null"):
        _ = cfg.method.rank


def test_the_record_names_the_source():
    row = presets.preset_row(config("authors"))
    assert row is not None
    assert row["source"] == "microsoft/LoRA c4593f06 examples/NLU/roberta_base_mrpc.sh"
    assert row["values"]["trainer.batch_size"] == 128  # 16 on each of 8 GPUs


def test_a_misspelt_preset_names_the_nearest():
    with pytest.raises(Exception, match=r"preset 'papers' is not one of .*did you mean 'paper'\?"):
        _ = config("papers").trainer.learning_rate


def test_a_preset_without_the_row_names_the_nearest_rows():
    with pytest.raises(ValueError, match=r"no row for model 'gpt2-large', .*nearest: gpt2-medium lora e2e"):
        presets.find_row("authors", "gpt2-large", "lora", "e2e")


def test_a_tasks_own_row_comes_before_any_tasks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    text = "model,method,task,source,trainer.epochs\nm,lora,*,sweep,3\nm,lora,rte,sweep,7\n"
    (tmp_path / "mine.csv").write_text(text)
    monkeypatch.setattr(presets, "FOLDER", tmp_path)
    assert presets.find_row("mine", "m", "lora", "rte")["trainer.epochs"] == "7"
    assert presets.find_row("mine", "m", "lora", "mrpc")["trainer.epochs"] == "3"


def test_a_methods_own_row_comes_before_a_patterns_and_that_before_any_models(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    rows = ["*,*,*,sweep,1", "*,ft_top*,*,sweep,2", "m,ft_top*,*,sweep,3", "m,ft_top2,*,sweep,4", "m,*,*,sweep,5"]
    (tmp_path / "mine.csv").write_text("\n".join(["model,method,task,source,trainer.epochs", *rows]))
    monkeypatch.setattr(presets, "FOLDER", tmp_path)
    epochs = {words: presets.find_row("mine", *words, "rte")["trainer.epochs"]
             for words in [("m", "ft_top2"), ("m", "ft_top3"), ("other", "ft_top3"), ("m", "ft"), ("other", "ft")]}
    assert list(epochs.values()) == ["4", "3", "2", "1", "1"]


@pytest.mark.parametrize("preset", ["nano", "default"])
def test_any_number_of_top_blocks_has_a_rate_of_its_own_kind(preset: str):
    two, three = (presets.find_row(preset, "any-model", f"ft_top{blocks}", "rte") for blocks in (2, 3))
    assert two == three
    assert three["method"] == "ft_top*"


def test_a_rank_of_the_command_line_has_a_learning_rate_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    rows = ["*,lora,*,,sweep,1e-3,8", "*,lora,*,1,sweep,4e-3,8", "*,lora,rte,,sweep,2e-3,8"]
    header = "model,method,task,rank,source,trainer.learning_rate,method.rank"
    (tmp_path / "mine.csv").write_text("\n".join([header, *rows]))
    monkeypatch.setattr(presets, "FOLDER", tmp_path)
    cfg = config("mine")
    assert (cfg.trainer.learning_rate, cfg.method.rank) == (1e-3, 8)
    cfg.method.rank = 1
    assert cfg.trainer.learning_rate == 4e-3
    cfg.method.rank = 2
    assert cfg.trainer.learning_rate == 1e-3  # no row of its own
    assert config("mine", task="rte").trainer.learning_rate == 2e-3


def test_a_value_asks_the_preset_once(monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple[str, ...]] = []
    find_row = presets.find_row
    monkeypatch.setattr(presets, "find_row", lambda *row: asked.append(row) or find_row(*row))
    cfg = config("paper")
    assert (cfg.method.rank, len(asked)) == (8, 1)
    assert (cfg.trainer.learning_rate, len(asked)) == (4e-4, 2)


def test_a_preset_states_a_setting_once():
    for name in presets.presets():
        with (presets.FOLDER / f"{name}.csv").open() as file:
            keys = [tuple(row.get(column) for column in presets.COLUMNS) for row in csv.DictReader(file)]
        assert len(keys) == len(set(keys)), name


def test_numbers_are_numbers():
    assert [presets.parse(cell) for cell in ("5e-4", "8", "0.06", "null", "linear")] == [
        5e-4,
        8,
        0.06,
        None,
        "linear",
    ]
    assert isinstance(presets.parse("8"), int)


def test_the_papers_tables_are_carried_over_unchanged(shared: Path):
    tables = (presets.FOLDER.parent / "paper").glob("*.csv")
    copies = [path for path in tables if path.stem != "section04_cost"]  # which is of prose
    assert len(copies) >= 13
    for copy in copies:
        theirs, ours = (folder.read_text().splitlines() for folder in (shared / "paper" / copy.name, copy))
        if copy.stem == "parameter_counts":  # a remark that it lacks is our own
            assert len(ours) == len(theirs)
            ours = [printed if printed.endswith(",") and here.startswith(printed) else here
                    for printed, here in zip(theirs, ours, strict=True)]
        assert ours == theirs, copy.name


@pytest.mark.parametrize(("method", "rate"), [("lora", 5e-4), ("ft", 5e-5), ("bitfit", 1e-3), ("new", 5e-4)])
def test_every_method_has_a_learning_rate_of_its_own_by_default(method: str, rate: float):
    """Full fine-tuning collapses at LoRA's learning rate."""
    row = presets.find_row("default", "any-model", method, "any-task")
    assert presets.values(row) == {"trainer.learning_rate": rate}


def test_a_number_is_written_as_presets_have_it_and_reads_as_itself():
    rates = {2e-4: "2e-4", 0.0026: "2.6e-3", 0.01: "1e-2", 1e-5: "1e-5", 0.123456789: "1.23456789e-1"}
    assert {rate: presets.written(rate) for rate in rates} == rates
    assert [presets.parse(text) for text in rates.values()] == list(rates)
