"""Where the files of a model are looked for, and what is said when they are not there."""

from pathlib import Path

import pytest

from experiments.models import files as models
from tests.experiments.models.made import load, model_config


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"model folder .*nothing does not exist"):
        load(model_config("minilm", path=str(tmp_path / "nothing")))


def test_how_to_train_a_nano_model_is_said_of_its_own_folder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(models, "ROOT", tmp_path)  # where nothing is
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="pretrain model=roberta-nano trains one"):
        load(model_config("roberta-nano"))
    with pytest.raises(FileNotFoundError, match=r"model folder /not/there does not exist$"):
        load(model_config("roberta-nano", path="/not/there"))


def test_a_relative_folder_is_found_beside_conf_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    here, repository = tmp_path / "here", tmp_path / "repository"
    for folder in (repository / "results" / "nano" / "tiny", here):
        folder.mkdir(parents=True)
    monkeypatch.setattr(models, "ROOT", repository)
    monkeypatch.chdir(here)
    cfg = model_config("local", path="results/nano/tiny")
    assert models.model_folder(cfg) == repository / "results" / "nano" / "tiny"
    (here / "results" / "nano" / "tiny").mkdir(parents=True)
    assert models.model_folder(cfg).resolve() == here / "results" / "nano" / "tiny"  # the working directory's first
    with pytest.raises(FileNotFoundError, match=r"model folder results/nano/none does not exist"):
        models.model_folder(model_config("local", path="results/nano/none"))


def test_an_unreachable_hub_model_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    import huggingface_hub

    caplog.set_level("INFO", logger="experiments.models.files")

    def offline(*_: object, **__: object) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(FileNotFoundError, match=r"FacebookAI/roberta-base.*e2da8e2f.*model\.path=<folder>"):
        load(model_config("roberta-base"))
    (line,) = caplog.messages
    assert line.startswith("looking for model FacebookAI/roberta-base (revision e2da8e2f")
    assert line.endswith(" on the hub")


def test_an_absent_package_is_named():
    with pytest.raises(FileNotFoundError, match=r"in the package 'no_such_package', not installed"):
        load(model_config("minilm", package="no_such_package"))


@pytest.mark.parametrize("name", ["gpt3-175b", "local"])
def test_a_shape_alone_cannot_be_loaded(name: str):
    with pytest.raises(FileNotFoundError, match=rf"model '{name}' names no files: give model\.path="):
        load(model_config(name), "causal_lm")
