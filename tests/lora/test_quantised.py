"""Frozen weights in few bits: where they are refused, and that adapters work beside them.

The real layers of bitsandbytes are in test_descendants_training, where it is installed. Here stand-ins have their
names and hold floats, as bitsandbytes' own do until they move to a GPU.
"""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import lora
from experiments.training.optimizer import hold_frozen
from lora.adapter_file import fingerprint
from lora.quantised import check_available, is_quantised
from tests.lora import adapted_models as models
from tests.lora.extended import BOTH, PISSA, but_pissa


class Params4bit(nn.Parameter):
    def __new__(cls, data: Tensor, requires_grad: bool = False, **_: Any) -> "Params4bit":
        return super().__new__(cls, data, requires_grad)  # type: ignore[return-value]


class Int8Params(Params4bit):
    pass


class Linear(nn.Linear):
    def __init__(self, n_in: int, n_out: int, bias: bool, device: str, **_: Any) -> None:
        super().__init__(n_in, n_out, bias=bias, device=device)


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("bitsandbytes")
    module.nn = SimpleNamespace(Linear4bit=Linear, Linear8bitLt=Linear,  # type: ignore[attr-defined]
                                Params4bit=Params4bit, Int8Params=Int8Params)
    monkeypatch.setitem(sys.modules, "bitsandbytes", module)


def test_few_bits_are_refused_without_a_gpu_or_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="4bit need a CUDA GPU, and this runs on cpu: hold them in bf16 or fp32"):
        check_available("4bit", torch.device("cpu"))
    monkeypatch.setattr("lora.quantised.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="8bit need the package bitsandbytes: pip install bitsandbytes"):
        check_available("8bit", torch.device("cuda"))


@pytest.mark.parametrize("held", ["4bit", "8bit"])
@pytest.mark.parametrize("kind", ["bert", "gpt2"])
@but_pissa
def test_an_adapter_is_the_same_beside_them(stand_ins: None, kind: str, held: str, fields: dict[str, Any]) -> None:
    torch.manual_seed(1)
    model = models.adapted(kind, models.method(**fields))
    wanted, before = models.logits(model), fingerprint(model, [])
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    hold_frozen(model, held, torch.float32)
    layers = [layer for _, layer in lora.adapted_layers(model)]
    assert all(is_quantised(layer.base) for layer in layers)
    assert_close(models.logits(model), wanted)
    assert fingerprint(model, []) == before
    ids = models.rows()
    model(input_ids=ids, labels=torch.tensor([0, 1, 2])).loss.backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == names
    with pytest.raises(RuntimeError, match="cannot be merged: its update would be rounded to the few bits"):
        lora.merge(model)
    with lora.route(model, ["default", None, "default"]):
        mixed = models.logits(model)
    assert_close(mixed[[0, 2]], wanted[[0, 2]])
    assert not torch.allclose(mixed[1], wanted[1])


@pytest.mark.parametrize("held", ["4bit", "8bit"])
@pytest.mark.parametrize("fields", [PISSA, BOTH])
@pytest.mark.parametrize("combined", [False, True])
def test_pissa_is_refused_beside_them(stand_ins: None, held: str, fields: dict[str, Any], combined: bool) -> None:
    model, method = models.model("bert"), models.method(**fields)
    if combined:
        method = lora.Combined(name="both", parts={"lora": method, "bitfit": lora.BitFit(name="bitfit")})
    method.apply(model, pooler="train")
    with pytest.raises(ValueError, match=f"trainer.frozen={held} cannot be with method.init=pissa, whose residual"):
        hold_frozen(model, held, torch.float32)
    assert not any(is_quantised(layer.base) for _, layer in lora.adapted_layers(model))
    hold_frozen(model, "bf16", torch.float32)
