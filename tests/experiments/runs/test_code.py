"""Methods and tasks of a user's own file: their code is a part of the run, their adapters are started from."""

import json
import sys
from pathlib import Path

import pytest

from experiments.runs.execute import run
from experiments.runs.identity import identity, identity_of
from experiments.store.store import Store
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
