"""Files are whole or as they were, known by their content, and JSON holds what any record does."""

import hashlib
import json
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.store import files


def test_a_file_is_written_whole_and_flushed_with_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    path = files.write_atomic(tmp_path / "new" / "a.txt", "± 1\n")
    assert path.read_bytes() == "± 1\n".encode()
    assert len(flushed) == 1
    assert [file.name for file in path.parent.iterdir()] == ["a.txt"]


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = files.write_atomic(tmp_path / "a.txt", "before")

    def fail(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        files.write_atomic(path, "after")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.txt", "before")]


def test_a_changed_file_has_another_sha256(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for content in (b"one", b"three"):
        path.write_bytes(content)
        assert files.sha256(path) == hashlib.sha256(content).hexdigest()


def test_json_takes_numbers_of_numpy_and_torch_and_paths() -> None:
    record = {"a": np.float32(0.5), "b": np.int64(3), "c": Path("x"), "d": [np.float64("inf"), float("nan")],
              "e": True, "f": torch.tensor(2), 1: None}
    assert json.loads(json.dumps(files.plain(record), allow_nan=False)) == {
        "a": 0.5, "b": 3, "c": "x", "d": [None, None], "e": True, "f": 2, "1": None}


def test_a_line_is_made_once_for_what_it_follows_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made: list[str] = []

    def line(word: str) -> str:
        made.append(word)
        return f"line of {word}"

    lines = [files.cached("test", word, partial(line, word)) for word in "abab"]
    assert lines == [f"line of {word}" for word in "abab"]
    assert made == ["a", "b"]


def test_a_cache_that_cannot_be_written_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert files.cached("test", "a", lambda: "line") == "line"
