"""A tiny model and a tiny data set, and the overrides of a run on both."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.pretraining import train as pretraining
from tests.experiments.language import ROWS, save_gpt2
from tests.experiments.tiny import save_model, write_rows


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers and 32 dimensions, without dropout."""
    return save_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train.csv, 38 rows (five batches of 8, the last one short), and validation.csv, 24 rows."""
    folder = tmp_path_factory.mktemp("data")
    write_rows(folder / "train.csv", 38, seed=1)
    write_rows(folder / "validation.csv", 24, seed=2)
    return folder


@pytest.fixture
def tiny_run(model_folder: Path, data_folder: Path, tmp_path: Path) -> list[str]:
    """Overrides of a run of two epochs in under a second: one thread, fp32, no wandb, a store of its own."""
    return [
        "model=local",
        f"model.path={model_folder}",
        "task=classification",
        "method.rank=4",
        f"task.files.train={data_folder / 'train.csv'}",
        f"task.files.validation={data_folder / 'validation.csv'}",
        "trainer.epochs=2",
        "trainer.batch_size=8",
        "trainer.learning_rate=5e-3",
        "trainer.precision=fp32",
        "trainer.device=cpu",
        "trainer.threads=1",
        "logger.wandb.mode=disabled",
        f"store={tmp_path / 'store'}",
    ]


@pytest.fixture(scope="module")
def small_corpus() -> Iterator[None]:
    """A corpus that is hashed in no time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretraining, "CORPUS_BYTES", 10_000)
        yield


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ROWS as E2E's training and validation splits in a mirror of the hub."""
    from tests.experiments.test_data import write

    for split, rows in (("train", ROWS), ("validation", ROWS[::5])):
        write(tmp_path / f"hub/tuetschek/e2e_nlg/default/{split}-00000-of-00001.parquet", rows)
    monkeypatch.setenv("LORA_LAB_HUB", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def tiny_language_run(mirror: Path, tmp_path: Path) -> list[str]:
    return ["model=local", f"model.path={save_gpt2(tmp_path / 'gpt2')}", "task=e2e", "method=lora", "method.rank=4",
            "method.alpha=8", "trainer.epochs=2", "trainer.batch_size=8", "trainer.learning_rate=2e-2",
            "trainer.max_length=48", "trainer.precision=fp32", "trainer.device=cpu", "trainer.threads=1",
            "logger.wandb.mode=disabled", f"store={tmp_path / 'store'}"]
