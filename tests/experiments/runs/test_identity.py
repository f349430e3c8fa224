"""What makes a run the same run, and the files that its record survives in."""

import hashlib
import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from experiments.runs.identity import identity, identity_of, run_name
from experiments.store.store import SCHEMA, RunRecord, Store
from tests.experiments.made import compose, save_model, write_rows


@pytest.mark.parametrize(
    "change",
    [
        "seed=1",
        "method.rank=2",
        "method.targets=[q]",
        "method.dropout=0.1",
        "trainer.learning_rate=1e-3",
        "trainer.max_length=64",
        "trainer.batch_size=4",
        "trainer.precision=bf16",
        "trainer.bucket=false",
        "trainer.epochs=3",
        "task.main_metric=f1",
        "task.labels=[praise,blame]",
        "task.evaluate_on=development",
        "model.init=random",
        "model.pooler=frozen",
        "model.classifier_dropout=0.1",
    ],
)
def test_what_can_change_the_result_makes_another_run(tiny_run: list[str], change: str) -> None:
    assert identity(compose(*tiny_run, change)) != identity(compose(*tiny_run))


@pytest.mark.parametrize(
    "change",
    [
        "store=elsewhere",
        "overwrite=true",
        "logger.wandb.mode=online",
        "logger.wandb.tags=[a]",
        "trainer.threads=2",
        "trainer.device=auto",
        "trainer.device_batch_size=2",
        "trainer.evaluation_batch_size=8",
        "trainer.compile=true",
        "trainer.log_every=1",
        "trainer.save_adapter=false",
        "trainer.save_checkpoints=false",
        "model.attention=eager",
    ],
)
def test_how_and_where_it_is_computed_does_not(tiny_run: list[str], change: str) -> None:
    assert identity(compose(*tiny_run, change)) == identity(compose(*tiny_run))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("trainer.weight_decay=0", "trainer.weight_decay=0.0"),
        ("method.alpha=16", "method.alpha=16.0"),
        ("method.dropout=0", "method.dropout=0.0"),
        ("trainer.gradient_clip=1", "trainer.gradient_clip=1.0"),
    ],
)
def test_two_ways_to_write_a_number_are_one_run(tiny_run: list[str], one: str, other: str) -> None:
    assert run_name(compose(*tiny_run, one)) == run_name(compose(*tiny_run, other))


@pytest.mark.parametrize(
    ("method", "one", "other"),
    [
        ("lora+prefix_embed", "method.parts.lora.alpha=16", "method.parts.lora.alpha=16.0"),
        ("lora+prefix_embed", "method.parts.lora.dropout=0", "method.parts.lora.dropout=0.0"),
        ("lora", "method.alpha={q: 16, v: 8}", "method.alpha={q: 16.0, v: 8.0}"),
        ("adapter_h", "method.init_std=1", "method.init_std=1.0"),
        ("loraplus", "method.learning_rate_scale_B=4", "method.learning_rate_scale_B=4.0"),
    ],
)
def test_so_are_those_of_every_method(tiny_run: list[str], method: str, one: str, other: str) -> None:
    lines = [*(line for line in tiny_run if not line.startswith("method.")), f"method={method}"]
    assert run_name(compose(*lines, one)) == run_name(compose(*lines, other))


def test_a_ratio_that_steps_replace_does_not_count(tiny_run: list[str]) -> None:
    steps = compose(*tiny_run, "trainer.warmup_steps=3")
    assert run_name(steps) == run_name(compose(*tiny_run, "trainer.warmup_steps=3", "trainer.warmup_ratio=0.5"))


@pytest.mark.parametrize("change", ["+method.new=null", "+method.new=false", "+trainer.deep={option: false}"])
def test_an_option_that_is_off_leaves_the_identity_as_it_was(tiny_run: list[str], change: str) -> None:
    without = identity_of(compose(*tiny_run))
    changed = identity_of(compose(*tiny_run, change))
    changed["trainer"].pop("deep", None)
    assert changed == without


def test_another_method_or_task_makes_another_run(tiny_run: list[str]) -> None:
    kept = [line for line in tiny_run if not line.startswith("method.")]
    names = {run_name(compose(*kept, f"method={method}")) for method in ("lora", "ft", "bitfit")}
    assert len(names) == 3
    assert identity(compose("task=mrpc")) != identity(compose("task=rte"))


def test_content_counts_and_place_does_not(
    tiny_run: list[str], model_folder: Path, data_folder: Path, tmp_path: Path
) -> None:
    name = run_name(compose(*tiny_run))
    moved = [
        line.replace(str(data_folder), str(tmp_path / "data")).replace(
            str(model_folder), str(tmp_path / "tiny")
        )
        for line in tiny_run
    ]
    shutil.copytree(data_folder, tmp_path / "data")
    shutil.copytree(model_folder, tmp_path / "tiny")
    assert run_name(compose(*moved)) == name
    write_rows(tmp_path / "data" / "train.csv", 38, seed=9)
    other_data = run_name(compose(*moved))
    (tmp_path / "tiny" / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    other_tokenizer = run_name(compose(*moved))
    assert len({name, other_data, other_tokenizer}) == 3


def test_other_weights_make_another_run(tiny_run: list[str], model_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_model(tmp_path / "tiny")
    tensors = load_file(folder / "model.safetensors")
    next(iter(tensors.values())).flatten()[0] += 1e-3
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    moved = [line.replace(str(model_folder), str(folder)) for line in tiny_run]
    assert identity(compose(*moved)) != identity(compose(*tiny_run))


def test_the_name_says_task_model_method_its_size_and_targets_and_seed(tiny_run: list[str]) -> None:
    cfg = compose(*tiny_run, "seed=3")
    assert run_name(cfg) == f"classification-tiny-lora-r4-qv-seed3-{identity(cfg)[:8]}"


@pytest.mark.parametrize("name", ["n" * 300, "имя/" * 80, "a name" * 100])
def test_a_long_name_is_cut_to_what_a_file_can_have_and_two_runs_keep_two_names(
    tiny_run: list[str], tmp_path: Path, name: str
) -> None:
    names = [run_name(compose(*tiny_run, f"task.name='{name}'", f"seed={seed}")) for seed in (0, 12)]
    digest = identity(compose(*tiny_run, f"task.name='{name}'", "seed=0"))
    assert names[0].endswith(f"-seed0-{digest[:8]}")
    assert len(set(names)) == 2
    for made in names:
        assert os.path.basename(made) == made
        Store(tmp_path).write(record(made))
        assert (Store(tmp_path).read(made) or record()).run == made


def record(run: str = "a-run", **changes: Any) -> RunRecord:
    made: dict[str, Any] = {"run": run, "identity": "0" * 64, "status": "done", "config": {}, "seed": 0}
    return RunRecord(**made | changes)


def test_a_record_comes_back_as_it_was_and_leaves_no_other_file(tmp_path: Path) -> None:
    store, written = Store(tmp_path), record(metrics={"accuracy": 86.5}, history=[{"epoch": 1, "loss": 0.5}])
    store.write(written)
    assert asdict(store.read("a-run") or record()) == asdict(written)
    assert os.listdir(tmp_path / "runs") == ["a-run.json"]
    assert [found.run for found in store.all()] == ["a-run"]
    assert store.read("another") is None


def test_nan_becomes_null_in_the_file(tmp_path: Path) -> None:
    text = Store(tmp_path).write(record(score=float("nan"), history=[{"loss": float("inf")}])).read_text()
    assert json.loads(text, parse_constant=pytest.fail)["history"] == [{"loss": None}]


@pytest.mark.parametrize("point", ["os.fsync", "os.replace"])
def test_a_failure_while_writing_leaves_the_old_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    store = Store(tmp_path)
    store.write(record(score=1.0))
    monkeypatch.setattr(point, fail)
    with pytest.raises(OSError, match="No space left"):
        store.write(record(score=2.0))
    found = store.read("a-run")
    assert found is not None
    assert found.score == 1.0
    assert os.listdir(tmp_path / "runs") == ["a-run.json"]


def signed(**content: Any) -> str:
    """A file with a checksum that is right."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps(content | {"checksum": digest})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"schema": 1, "run": "a-r', "is not a run record"),
        ("[]", "is not a run record"),
        ("{}", "is not a run record"),
        (f'{{"schema": {SCHEMA}}}', "has no checksum of itself"),
        (f'{{"schema": {SCHEMA + 1}}}', f"has schema {SCHEMA + 1}, this code reads {SCHEMA}"),
        (signed(schema=SCHEMA, run="broken"), "is not a run record"),
        (signed(schema=SCHEMA, run="broken", colour=1), "has unknown fields .*colour"),
        (signed(schema=SCHEMA, run="another"), "is a copy of the record of another"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str, message: str
) -> None:
    store = Store(tmp_path)
    store.write(record("good"))
    (tmp_path / "runs" / "broken.json").write_text(content)
    with pytest.raises(ValueError, match=f"broken.json {message}.*; compute the run again with overwrite=true, or rem"):
        store.read("broken")
    assert [found.run for found in store.all()] == ["good"]
    assert "broken.json" in caplog.text


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match=f"store {root} cannot be written"):
            Store(root).check_writable()
