"""Where the files of a model are looked for, and what is said when they are not there."""

import hashlib
from pathlib import Path

import pytest
from transformers import AutoModel

from experiments.models import files as models
from tests.experiments.models.made import load, model_config
from tests.experiments.models.tiny_classifiers import tiny_config


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


def test_a_file_of_a_tokenizer_changes_the_identity_of_a_folder(tmp_path: Path):
    AutoModel.from_config(tiny_config("bert")).save_pretrained(tmp_path)
    cfg = model_config("local", path=str(tmp_path))
    identities = [models.model_identity(cfg)]
    for name in ("vocab.txt", "spiece.model", "merges.txt", "bpe.codes", "special_tokens_map.json"):
        (tmp_path / name).write_text("a")
        identities.append(models.model_identity(cfg))
        (tmp_path / name).write_text("b c")
        identities.append(models.model_identity(cfg))
    assert all(identity not in identities[:place] for place, identity in enumerate(identities))
    (tmp_path / "README.md").write_text("a")
    assert models.model_identity(cfg) == identities[-1]


def snapshot(cache: Path, commit: str, content: bytes, name: str = "config.json", digest: str | None = None) -> Path:
    """A file in the hub's cache, as a link to its blob, which has git's sha1 or the sha256 in its name."""
    digest = digest or hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()
    repository = cache / "models--some--model"
    (file := repository / "snapshots" / commit / name).parent.mkdir(parents=True, exist_ok=True)
    (blob := repository / "blobs" / digest).parent.mkdir(exist_ok=True)
    blob.write_bytes(content)
    file.symlink_to(blob)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(commit)
    return file


def test_a_hub_model_is_its_commit_unless_its_files_are_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "0" * 39 + "1"
    pinned = model_config("local", path="some/model", revision=commit)
    newest = model_config("local", path="some/model")
    absent = models.model_identity(pinned)
    assert "commit" not in models.model_identity(newest)
    file = snapshot(tmp_path, commit, b"{}")
    weights = b"numbers"
    snapshot(tmp_path, commit, weights, "model.safetensors", hashlib.sha256(weights).hexdigest())
    assert models.model_identity(pinned) == absent  # the commit names these very files
    assert models.model_identity(newest)["commit"] == commit
    file.resolve().write_bytes(b'{"a": 1}')
    altered = models.model_identity(pinned)
    assert altered["files"] == {"config.json": hashlib.sha256(b'{"a": 1}').hexdigest()}
    file.unlink()
    file.write_bytes(b"{}")  # a copy says nothing of where it is from
    assert models.model_identity(pinned)["files"] == {"config.json": hashlib.sha256(b"{}").hexdigest()}
