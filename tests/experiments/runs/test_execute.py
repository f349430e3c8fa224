"""One run from its config to its record: computed once, the same each time, its failures recorded."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from experiments.runs import ask, execute
from experiments.runs.execute import compute, run
from experiments.runs.identity import run_name
from experiments.store.store import RunRecord, Store
from experiments.tasks.base import TaskData
from experiments.tasks.classification import Classification
from lora.adapter_file import load_adapter
from lora.peft import save_peft
from tests.experiments.made import adapted, compose, trainer_of
from tests.experiments.runs.made import store_files
from tests.experiments.store.made import records, values, wandb


def losses(record: RunRecord) -> list[float]:
    return [entry["loss"] for entry in record.history]


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
    clock, made = [0.0], Classification.load

    def slow_data(task: Classification) -> TaskData:
        clock[0] += 5
        return made(task)

    monkeypatch.setattr(ask, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(Classification, "load", slow_data)
    with ask.asked(compose(*tiny_run)) as request:
        clock[0] += 100  # the imports of `compute`
        compute(request)
    assert request.record.ready_seconds == 5


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
        patch.setattr(execute, "compute", None)  # computing would raise
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
        patch.setattr(execute, "_keep", interrupt)  # as late as can be
        with pytest.raises(KeyboardInterrupt):
            run(cfg)
    assert store_files(tmp_path / "store") == {f"checkpoints/{run_name(cfg)}/state.pt"}
    caplog.set_level(logging.INFO)
    resumed = run(cfg)
    assert "resuming after epoch 3 of 3" in caplog.text  # nothing of what was trained is lost
    assert losses(resumed) == losses(whole)
    assert resumed.merge_error == whole.merge_error != {}
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
