"""One run from its config to its record: computed once, the same each time, its failures recorded."""

import json
import logging
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hydra.errors import InstantiationException
from safetensors.torch import load_file

from experiments.entry import explain
from experiments.runs import RunRecord, Store, run_name
from experiments.tasks.base import TaskData
from experiments.tasks.classification import Classification
from experiments.train import Laps, run
from lora.adapter_file import load_adapter
from lora.peft import save_peft
from tests.experiments.test_logger import records, values, wandb
from tests.experiments.tiny import adapted, compose, trainer_of


def losses(record: RunRecord) -> list[float]:
    return [entry["loss"] for entry in record.history]


def store_files(folder: Path) -> set[str]:
    """Every file of a store but its locks."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "locks" not in path.parts
    }


def test_a_run_leaves_a_record_an_adapter_and_nothing_else(tiny_run: list[str], tmp_path: Path) -> None:
    cfg = compose(*tiny_run, "method.dropout=0.1")
    record = run(cfg)
    name = run_name(cfg)
    expected = {f"runs/{name}.json", f"adapters/{name}/adapter.json", f"adapters/{name}/adapter.safetensors"}
    assert store_files(tmp_path / "store") == expected
    stored = Store(cfg.store).read(name)
    assert stored is not None
    assert (stored.status, stored.precision, stored.threads, stored.seed) == ("done", "fp32", 1, 0)
    assert stored.config["method"]["dropout"] == 0.1
    assert stored.trainable == 2 * 2 * 4 * (32 + 32)  # layers, targets, rank, in + out
    assert stored.head == 32 * 32 + 32 + 2 * 32 + 2  # pooler, classifier
    assert stored.score == stored.metrics["accuracy"] == max(e["metrics"]["accuracy"] for e in stored.history)
    assert stored.history == json.loads(json.dumps(record.history))
    assert [entry["epoch"] for entry in stored.history] == [1, 2]
    assert stored.tokens_per_second
    assert stored.ready_seconds
    assert stored.peak_memory_mb


def test_the_seconds_to_the_first_step_have_the_making_of_the_data_and_not_the_imports(
    tiny_run: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, made, mark = [0.0], Classification.load, Laps.mark

    def slow_data(task: Classification) -> TaskData:
        clock[0] += 5
        return made(task)

    def slow_imports(laps: Laps, what: str) -> None:
        clock[0] += 100 if what == "imports" else 0
        mark(laps, what)

    monkeypatch.setattr("experiments.train.time", SimpleNamespace(time=lambda: clock[0]))
    monkeypatch.setattr(Laps, "first_run", False)
    monkeypatch.setattr(Laps, "mark", slow_imports)
    monkeypatch.setattr(Classification, "load", slow_data)
    assert run(compose(*tiny_run)).ready_seconds == 5


def test_the_saved_adapter_scores_what_the_record_says(tiny_run: list[str]) -> None:
    record = run(cfg := compose(*tiny_run, "trainer.epochs=4"))
    _, groups = adapted(cfg)
    base, _ = adapted(cfg)  # the same head and base; the adapter under another name is what was trained
    load_adapter(base, Store(cfg.store).adapter_folder(record.run), adapter="trained")
    trainer, _ = trainer_of(cfg, base, groups)
    assert trainer._evaluate()["metrics"] == record.metrics


@pytest.mark.parametrize(("method", "changes", "trainable"), [  # of two layers of width 32, MLP of 64
    ("adapter_h", ["method.bottleneck=4"], 2 * 2 * (2 * 32 * 4 + 4 + 32)),
    ("adapter_l", ["method.bottleneck=4"], 2 * (2 * 32 * 4 + 4 + 32 + 2 * 32)),
    ("adapter_p", ["method.bottleneck=4"], 2 * (2 * 32 * 4 + 4 + 32)),
    ("adapter_d", ["method.bottleneck=4", "method.dropped_layers=1"], 2 * 32 * 4 + 4 + 32),
    ("ft_top2", ["method.blocks=1"], 4 * 32 * 32 + 2 * 32 * 64 + 5 * 32 + 64 + 4 * 32),
])
def test_a_method_that_is_no_lora_goes_the_same_way(
    method: str, changes: list[str], trainable: int, tiny_run: list[str]
) -> None:
    lines = [line for line in tiny_run if not line.startswith("method.")]
    record = run(cfg := compose(*lines, f"method={method}", *changes))
    assert (record.status, record.trainable) == ("done", trainable)
    assert record.history[1]["loss"] < record.history[0]["loss"]
    base, groups = adapted(cfg)
    load_adapter(base, Store(cfg.store).adapter_folder(record.run), adapter="trained")
    assert trainer_of(cfg, base, groups)[0]._evaluate()["metrics"] == record.metrics
    with pytest.raises(ValueError, match="PEFT's LoRA layout holds only LoRA adapters"):
        save_peft(base, Path(cfg.store) / "peft")


def test_a_finished_run_is_not_computed_again_unless_asked(
    tiny_run: list[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(compose(*tiny_run))
    caplog.set_level(logging.INFO)
    with monkeypatch.context() as patch:
        patch.setattr("experiments.train._compute", None)  # computing would raise
        again = run(compose(*tiny_run))
    assert f"{first.run} is done: this is its stored result" in caplog.text
    assert again.summary() == first.summary()
    written = Store(compose(*tiny_run).store).path(first.run).stat().st_mtime_ns
    anew = run(compose(*tiny_run, "overwrite=true"))
    assert losses(anew) == losses(first)
    assert Store(compose(*tiny_run).store).path(first.run).stat().st_mtime_ns > written


def test_a_seed_gives_the_same_history_each_time_and_another_seed_another(
    tiny_run: list[str], tmp_path: Path
) -> None:
    dropout = ["method.dropout=0.1", "model.classifier_dropout=0.1"]
    runs = [
        run(compose(*tiny_run, *dropout, f"seed={seed}", f"store={tmp_path / str(number)}"))
        for number, seed in enumerate((0, 0, 1))
    ]
    assert losses(runs[0]) == losses(runs[1])
    assert losses(runs[0]) != losses(runs[2])
    assert runs[0].metrics == runs[1].metrics
    tensors = [
        load_file(tmp_path / str(number) / str(record.adapter) / "adapter.safetensors")
        for number, record in enumerate(runs)
    ]
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


def test_constant_predictions_are_recorded_as_a_collapse(
    tiny_run: list[str], data_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "praise.csv").write_text((data_folder / "train.csv").read_text().replace(",blame", ",praise"))
    one_class = [f"task.files.train={tmp_path / 'praise.csv'}", "task.labels=[blame,praise]"]
    record = run(cfg := compose(*tiny_run, *one_class, "trainer.learning_rate=2e-2"))
    assert record.status == "collapsed"
    assert record.score == 50  # half of the validation rows have either label
    assert run(cfg).summary() == record.summary()  # it is not computed again


def test_a_regression_that_predicts_nan_is_recorded_as_a_collapse(
    tiny_run: list[str], tmp_path: Path
) -> None:
    rows = [{"text": f"a {'good ' * i} film", "label": i / 4} for i in range(8)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    files = [f"task.files.{split}={tmp_path / 'rows.json'}" for split in ("train", "validation")]
    one_step = ["trainer.learning_rate=1e30", "trainer.warmup_ratio=0", "trainer.epochs=1"]
    record = run(compose(*tiny_run, "task.kind=regression", "task.main_metric=pearson", *files, *one_step))
    assert record.status == "collapsed"


def test_an_interrupted_run_goes_on_from_its_checkpoint(
    tiny_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = run(compose(*tiny_run, "trainer.epochs=3", f"store={tmp_path / 'whole'}"))
    cfg = compose(*tiny_run, "trainer.epochs=3")

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("experiments.train._keep", interrupt)  # as late as can be
        with pytest.raises(KeyboardInterrupt):
            run(cfg)
    assert store_files(tmp_path / "store") == {f"checkpoints/{run_name(cfg)}/state.pt"}
    caplog.set_level(logging.INFO)
    resumed = run(cfg)
    assert "resuming after epoch 3 of 3" in caplog.text  # nothing of what was trained is lost
    assert losses(resumed) == losses(whole)
    assert not (tmp_path / "store" / "checkpoints" / resumed.run).exists()


def test_wandb_offline_holds_config_steps_epochs_summary_and_adapter(
    tiny_run: list[str], tmp_path: Path
) -> None:
    record = run(compose(*tiny_run, "logger.wandb.mode=offline", "trainer.log_every=5"))
    wandb.teardown()  # ends the service process, which writes what it still holds
    (file,) = (tmp_path / "store" / "wandb").glob("offline-run-*/*.wandb")
    found = list(records(file))
    (started,) = [item.run for item in found if item.HasField("run")]
    config = values(started.config.update)
    assert started.display_name == record.run
    assert (config["seed"], config["method"]["rank"], config["trainer"]["batch_size"]) == (0, 4, 8)
    history = [values(item.history.item) for item in found]
    assert [row["train/step"] for row in history if "train/loss" in row] == [5, 10]
    scores = [entry["metrics"]["accuracy"] for entry in record.history]
    assert [row["epoch/accuracy"] for row in history if "epoch/accuracy" in row] == scores
    summary: dict[str, object] = {}
    for item in found:
        summary |= values(item.summary.update)
    assert (summary["score"], summary["status"], summary["trainable"]) == (
        record.score,
        "done",
        record.trainable,
    )
    (artifact,) = [
        item.artifact for item in found if item.HasField("artifact") and item.artifact.type == "adapter"
    ]
    assert sorted(entry.path for entry in artifact.manifest.contents) == [
        "adapter.json",
        "adapter.safetensors",
    ]


FORESEEN = (ValueError, OSError, RuntimeError, InstantiationException)
BEFORE_THE_RUN_HAS_A_NAME = [
    (
        ["trainer.schedule=liner"],
        "trainer.schedule 'liner' is not one of constant, linear; did you mean 'linear'",
    ),
    (["trainer.precision=fp16"], "trainer.precision 'fp16' is not one of auto, bf16, fp32"),
    (["trainer.frozen=int8"], "trainer.frozen 'int8' is not one of bf16, fp32"),
    (["trainer.frozen=bf16"], "trainer.frozen=bf16 needs trainer.precision=bf16"),
    (["trainer.device=gpu"], "trainer.device 'gpu' is not one of auto, cpu, cuda"),
    (["trainer.max_length=0"], "trainer.max_length 0 is not a whole number above 0"),
    (["trainer.epochs=0"], "trainer.epochs 0 is not a whole number above 0"),
    (["trainer.batch_size=-1"], "trainer.batch_size -1 is not a whole number above 0"),
    (["trainer.device_batch_size=0"], "trainer.device_batch_size 0 is not a whole number above 0"),
    (["trainer.device_batch_size=-2"], "trainer.device_batch_size -2 is not a whole number above 0"),
    (["trainer.gradient_clip=0"], "trainer.gradient_clip 0 is not a number above 0"),
    (["trainer.epochs=three"], "trainer.epochs three is not a whole number above 0"),
    (["trainer.warmup_ratio=6"], "trainer.warmup_ratio 6 is not a number in 0..1"),
    (["trainer.epochs=2.5"], "trainer.epochs 2.5 is not a whole number above 0"),
    (["trainer.weight_decay=null"], "trainer.weight_decay None is not a number from 0"),
    (["trainer.warmup_steps=-5"], "trainer.warmup_steps -5 is not a whole number from 0"),
    (["trainer.warmup_ratio=null"], "trainer.warmup_steps and trainer.warmup_ratio are both null"),
    (["seed=abc"], "seed 'abc' is not a whole number from 0"),
    (["task.main_metric=acuracy"], "metric 'acuracy' is not one of .* did you mean 'accuracy'"),
    (["task.label=lable"], "column 'lable' is not one of label, text; did you mean 'label'"),
    (["task.files.train=no.csv"], "no file no.csv"),
    (["preset=papper"], "preset 'papper' is not one of .* did you mean 'paper'"),
    (["model.weights=safetensor"], "model.weights 'safetensor' is not one of"),
    (["model.path=/no/such/folder"], "model folder /no/such/folder does not exist"),
    (["model.checksum=0123"], "has sha256 .*, model.checksum is"),
    (["store=/dev/null/store"], "store /dev/null/store cannot be written: Not a directory"),
    (["logger.wandb.mode=ofline"], "logger.wandb.mode 'ofline' is not one of .* did you mean 'offline'"),
]
AFTERWARDS = [
    (["method.targets=[query]"], "target 'query'|role 'query'|'query'"),
    (["method.rank=999"], "rank 999"),
    (["method.init=xavier"], "'xavier' is not one of"),
    (
        ["method.bias=some"],
        "bias 'some' is not one of none, sites, all|bias 'some' is not one of all, none, sites",
    ),
    (["task.labels=[praise,blam]"], r"row 1: label 'blame' is not one of blam, praise; did you mean 'blam'"),
    (
        ["trainer.learning_rate=1e30"],
        r"loss is nan at step \d+ \(epoch 1\): lower trainer.learning_rate \(1e\+30\)",
    ),
]


@pytest.mark.parametrize(("overrides", "message"), BEFORE_THE_RUN_HAS_A_NAME)
def test_a_wrong_setting_is_refused_with_nothing_written(
    tiny_run: list[str], tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(FORESEEN) as caught:
        run(compose(*tiny_run, *overrides))
    assert re.search(message, explain(caught.value))
    assert store_files(tmp_path / "store") == set()


@pytest.mark.parametrize(("overrides", "message"), AFTERWARDS)
def test_a_run_that_fails_is_recorded_with_its_error(
    tiny_run: list[str], tmp_path: Path, overrides: list[str], message: str
) -> None:
    cfg = compose(*tiny_run, *overrides)
    with pytest.raises(FORESEEN) as caught:
        run(cfg)
    assert re.search(message, explain(caught.value))
    stored = Store(cfg.store).read(run_name(cfg))
    assert stored is not None
    assert (stored.status, stored.score) == ("failed", None)
    assert stored.error is not None
    assert stored.error["message"] == explain(caught.value)
    assert store_files(tmp_path / "store") == {f"runs/{stored.run}.json"}


def test_a_pickle_where_safetensors_is_expected_is_refused(
    tiny_run: list[str], model_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(model_folder, tmp_path / "tiny"))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"there is a pickle.* only with model.weights=pickle"):
        run(compose(*tiny_run, f"model.path={folder}"))
    assert store_files(tmp_path / "store") == set()


def test_a_truncated_data_file_is_named(tiny_run: list[str], tmp_path: Path) -> None:
    rows = [{"text": "a good film", "label": "praise"}, {"text": "a bad film", "label": "blame"}]
    (tmp_path / "train.json").write_text(json.dumps(rows)[:-20])
    with pytest.raises(InstantiationException) as caught:
        run(compose(*tiny_run, f"task.files.train={tmp_path / 'train.json'}"))
    assert re.search(r"train.json: file is not JSON \(truncated\?\)", explain(caught.value))
    assert store_files(tmp_path / "store") == set()
