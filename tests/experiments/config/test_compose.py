"""Composing inside a program: values and added folders of any name."""

from pathlib import Path

import pytest

from experiments.config.compose import configs, quoted
from experiments.config.search_path import search_path, searching

NAMES = ["a b", "a=b", "it's", '"a"', "路径", "a,b", "[a]", "{a: b}", "a:b", "a#b", "a%b", "end\\", "a\\'b", "(a)"]


@pytest.mark.parametrize("name", NAMES)
def test_any_text_comes_through_an_override(name: str) -> None:
    with configs("compare") as compose:
        assert compose([f"store={quoted(name)}"]).store == name


@pytest.mark.parametrize("name", [name for name in NAMES if name != "end\\"])
def test_a_config_folder_of_any_name_is_found(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    (folder / "method").mkdir(parents=True)
    (folder / "method" / "mine.yaml").write_text("name: mine\n")
    with searching([folder, tmp_path]):
        assert search_path() == [folder, tmp_path]
        with configs("compare") as compose:
            assert compose(["method=mine"]).method.name == "mine"
