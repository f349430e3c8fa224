"""What a run refuses before it has a name, and what it records of its failure."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from hydra.errors import InstantiationException
from safetensors.torch import load_file

from experiments.config.entry import explain
from experiments.runs.execute import run
from experiments.runs.identity import run_name
from experiments.store.store import Store
from tests.experiments.made import compose
from tests.experiments.runs.made import store_files

FORESEEN = (ValueError, OSError, RuntimeError, InstantiationException)
BEFORE_THE_RUN_HAS_A_NAME = [
    (
        ["trainer.schedule=liner"],
        "trainer.schedule 'liner' is not one of constant, linear; did you mean 'linear'",
    ),
    (["trainer.precision=fp16"], "trainer.precision 'fp16' is not one of auto, bf16, fp32"),
    (["trainer.frozen=int8"], "trainer.frozen 'int8' is not one of 4bit, 8bit, bf16, fp32"),
    (["trainer.frozen=4bit"], "frozen weights in 4bit need a CUDA GPU, and this runs on cpu"),
    (["trainer.frozen=bf16"], "trainer.frozen=bf16 needs trainer.precision=bf16"),
    (["trainer.device=gpu"], "trainer.device 'gpu' is not one of auto, cpu, cuda"),
    (["trainer.max_length=0"], "trainer.max_length 0 is not a whole number of at least 1"),
    (["trainer.epochs=0"], "trainer.epochs 0 is not a whole number of at least 1"),
    (["trainer.batch_size=-1"], "trainer.batch_size -1 is not a whole number of at least 1"),
    (["trainer.device_batch_size=0"], "trainer.device_batch_size 0 is not a whole number of at least 1"),
    (["trainer.device_batch_size=-2"], "trainer.device_batch_size -2 is not a whole number of at least 1"),
    (["trainer.gradient_clip=0"], "trainer.gradient_clip 0 is not a number above 0"),
    (["trainer.epochs=three"], "trainer.epochs 'three' is not a whole number of at least 1"),
    (["trainer.warmup_ratio=6"], "trainer.warmup_ratio 6 is not a number of at least 0 and at most 1"),
    (["trainer.epochs=2.5"], "trainer.epochs 2.5 is not a whole number of at least 1"),
    (["trainer.weight_decay=null"], "trainer.weight_decay None is not a number of at least 0"),
    (["trainer.warmup_steps=-5"], "trainer.warmup_steps -5 is not a whole number of at least 0"),
    (["trainer.warmup_ratio=null"], "trainer.warmup_steps and trainer.warmup_ratio are both null"),
    (["method.init=xavier"], "method.init 'xavier' is not one of gaussian, kaiming, pissa"),
    (["method.bias=some"], "method.bias 'some' is not one of all, none, sites"),
    (["seed=abc"], "seed 'abc' is not a whole number of at least 0"),
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
