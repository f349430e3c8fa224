"""A tiny model and a tiny data set, and the overrides of a run on both."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.pretraining import train as pretraining
from experiments.store.paths import CONF
from tests.experiments.config.made import APP, CONFIGS
from tests.experiments.made import NamedRuns, WordsAsConfigs, save_model, write_rows
from tests.experiments.tasks.made import ROWS, save_gpt2


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
    from tests.experiments.made import write

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



@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A folder with `app.py`, an entry point, and its conf/ (hydra and logger are the repository's)."""
    for name, text in CONFIGS.items():
        path = tmp_path / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for group in ("hydra", "logger"):
        shutil.copytree(CONF / group, tmp_path / "conf" / group)
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "elsewhere").mkdir()
    return tmp_path


@pytest.fixture
def fake_runs(monkeypatch):
    """Composition that keeps the overrides as the config, and a run's name made of them."""

    def name(cfg) -> str:
        method = cfg["method"] + "".join(cfg.get(f"method.{key}", "") for key in ("rank", "targets", "bottleneck"))
        return f"{cfg['task']}-{cfg['model']}-{method}-{cfg['preset']}-seed{cfg['seed']}"

    monkeypatch.setattr("experiments.artifacts.plan.all_seeds", lambda cfg, known: NamedRuns(name))
    monkeypatch.setattr("experiments.artifacts.plan.model_identity", lambda model: {})
    return WordsAsConfigs()
