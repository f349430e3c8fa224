"""A method outside lora: its class is kept by path, imported when the adapter is loaded, or the error says why not."""

import json
import sys
from pathlib import Path

import pytest
import torch

from lora.adapter_file import load_adapter, save_adapter
from lora.method_description import described, method_of
from lora.methods import BitFit, Combined
from tests.lora.tiny import lora, tiny

OWN = '''
from dataclasses import dataclass

from lora.methods import Method


@dataclass(frozen=True, kw_only=True)
class LayerNorms(Method):
    """Trains every LayerNorm."""

    suffix: str

    def in_place(self, model, body):
        return [name for name in body if name.endswith(f"LayerNorm.{self.suffix}")]
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The module of a method outside this project."""
    (tmp_path / "own_methods.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_methods", raising=False)
    return "own_methods"


def test_an_adapter_of_a_method_outside_lora_is_loaded_again(own: str, tmp_path: Path) -> None:
    model = tiny("bert")
    method = method_of({"class": f"{own}.LayerNorms", "name": "layernorms", "suffix": "weight"})
    method.apply(model, pooler="train")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(1.0)
    folder = save_adapter(model, tmp_path / "adapter", base={"name": "tiny"})
    assert json.loads((folder / "adapter.json").read_text())["method"]["class"] == "own_methods.LayerNorms"
    fresh = tiny("bert")
    load_adapter(fresh, folder)
    for (name, one), other in zip(model.named_parameters(), fresh.parameters(), strict=True):
        torch.testing.assert_close(one, other, msg=name)


def test_parts_of_a_combined_method_are_described_alike(own: str) -> None:
    norms = method_of({"class": f"{own}.LayerNorms", "name": "layernorms", "suffix": "bias"})
    both = Combined(name="both", parts={"norms": norms, "bitfit": BitFit(name="bitfit")})
    classes = {word: part["class"] for word, part in described(both)["parts"].items()}
    assert classes == {"norms": "own_methods.LayerNorms", "bitfit": "BitFit"}
    assert method_of(described(both)) == both


@pytest.mark.parametrize(("path", "message"), [
    ("absent.Mine", r"absent\.Mine cannot be imported \(No module named 'absent'\).*PYTHONPATH"),
    ("own_methods.Missing", r"own_methods\.Missing cannot be imported"),
    ("own_methods.dataclass", r"own_methods\.dataclass is not a method"),
    ("BitFt", "method 'BitFt' is not one of .* did you mean 'BitFit'"),
])
def test_a_class_that_is_no_method_or_cannot_be_imported_is_named(own: str, path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method_of({"class": path, "name": "mine"})


def test_a_class_of_lora_keeps_its_short_name() -> None:
    assert described(BitFit(name="bitfit")) == {"class": "BitFit", "name": "bitfit"}


def test_a_file_from_before_the_descendants_of_lora_is_still_one_of_lora() -> None:
    now = described(lora())
    before = {key: value for key, value in now.items() if key not in ("dora", "learning_rate_scale_B")}
    assert method_of(before) == method_of(now) == lora()
