"""Methods and tasks of a user's own file: their code is a part of the run, their adapters are started from."""

import hashlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.runs import code
from experiments.runs.code import foreign_code
from experiments.runs.execute import run
from experiments.runs.identity import identity, identity_of
from experiments.store import store
from experiments.store.store import Store
from lora import BitFit
from tests.experiments.made import compose

OWN = '''
from dataclasses import dataclass

from lora.methods import BitFit


@dataclass(frozen=True, kw_only=True)
class Biases(BitFit):
    """BitFit under another name."""


def made(**fields):
    return Biases(**fields)
'''


@pytest.fixture
def own(tiny_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Overrides of a run with a method of a module beside the data."""
    (tmp_path / "own_biases.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_biases", raising=False)
    return [*(line for line in tiny_run if not line.startswith("method")), "method=bitfit",
            "method._target_=own_biases.Biases", "method.name=biases"]


def test_edited_code_is_another_run_and_the_old_text_the_old_one(own: list[str], tmp_path: Path) -> None:
    before = identity(compose(*own))
    (tmp_path / "own_biases.py").write_text(f"{OWN}\n# edited\n")
    edited = identity(compose(*own))
    (tmp_path / "own_biases.py").write_text(OWN)
    assert edited != before == identity(compose(*own))


def test_the_classes_of_this_project_leave_identities_as_they_are(tiny_run: list[str], own: list[str]) -> None:
    assert "code" not in identity_of(compose(*tiny_run))
    assert list(identity_of(compose(*own))["code"]) == ["own_biases.Biases"]


def test_a_function_that_makes_the_method_counts_by_its_file(own: list[str]) -> None:
    by_class, by_function = (identity_of(compose(*own, f"method._target_=own_biases.{name}"))["code"]
                             for name in ("Biases", "made"))
    assert list(by_class.values()) == list(by_function.values())
    assert run(compose(*own, "method._target_=own_biases.made")).status == "done"


def test_another_run_starts_from_the_adapter_of_such_a_method(own: list[str]) -> None:
    first = run(cfg := compose(*own))
    description = json.loads((Store(cfg.store).adapter_folder(first.run) / "adapter.json").read_text())
    assert description["method"] == {"class": "own_biases.Biases", "name": "biases"}
    second = run(compose(*own, f"init_from={first.run}", "seed=1"))
    assert second.status == "done"
    assert second.init_from is not None
    assert second.init_from["run"] == first.run


MODULE = '''
import torch

from lora import Method
from own_numbers import SCALE


class Own(torch.nn.Module):
    """A module of torch, whose file is a library's."""


def late() -> None:
    from own_package.inner import deep
'''


def test_the_modules_that_own_code_imports_count_and_libraries_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"own_module.py": MODULE, "own_numbers.py": "SCALE = 2\n", "own_package/__init__.py": "",
             "own_package/inner.py": "from . import deep\n", "own_package/deep.py": "import json\n"}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    node = {"_target_": "own_module.Own"}
    before = foreign_code([node])["own_module.Own"]
    hashes = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    assert set(before.split("+")) == set(hashes.values())
    for name, text in files.items():
        (tmp_path / name).write_text(f"{text}\n# edited\n")
        assert foreign_code([node])["own_module.Own"] != before
        (tmp_path / name).write_text(text)
    assert foreign_code([node])["own_module.Own"] == before


def test_code_in_this_repository_that_git_does_not_track_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    file = Path(inspect.getsourcefile(BitFit) or "")
    node = {"_target_": "lora.BitFit"}
    monkeypatch.setattr(code, "untracked", frozenset)
    assert foreign_code([node]) == {}
    monkeypatch.setattr(code, "untracked", lambda: frozenset([file]))
    assert foreign_code([node]) == {"lora.BitFit": hashlib.sha256(file.read_bytes()).hexdigest()}


def test_an_untracked_file_makes_the_code_dirty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("lora", "experiments", "conf"):
        (tmp_path / folder).mkdir()
    (tmp_path / "lora" / "kept.py").write_text("")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "kept"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    for module in (store, code):
        monkeypatch.setattr(module, "ROOT", tmp_path)
        monkeypatch.setattr(module, "PACKAGES", tmp_path)
    assert (store.git_state()[1], code.untracked.__wrapped__()) == (False, frozenset())
    (tmp_path / "lora" / "mine.py").write_text("")
    assert (store.git_state()[1], code.untracked.__wrapped__()) == (True, {tmp_path / "lora" / "mine.py"})
