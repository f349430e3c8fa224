"""LoRA's descendants train, are saved, and share one base."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

import lora
from lora.adapter_file import load_adapter, save_adapter
from lora.bank import base_parameters
from tests.lora import adapted_models as models
from tests.lora.extended import NAMED, NEW_FUNCTIONS, but_pissa, every
from tests.lora.tiny import ROWS, adapt, gradients, logits, tiny, tokens, two


@every
@pytest.mark.parametrize("architecture", ["bert", "roberta", "deberta", "deberta-v2", "gpt2"])
def test_the_loss_falls_every_parameter_gets_a_gradient_and_the_base_stays(architecture: str,
                                                                          fields: dict[str, Any]) -> None:
    model = tiny(architecture).train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    torch.manual_seed(0)
    groups = models.method(**fields).apply(model, pooler="train")
    trained = {name: p for group in groups for name, p in group.parameters.items()}
    moved, losses = {name: p.detach().clone() for name, p in trained.items()}, []
    rates = [{"params": list(group.parameters.values()), "lr": 3e-3 * group.learning_rate_scale} for group in groups]
    optimizer = torch.optim.AdamW(rates)
    for _ in range(12):
        loss = model(**tokens(), labels=torch.tensor([0, 1, 2, 0])).loss
        loss.backward()
        assert all(p.grad is not None for p in trained.values())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert not any(torch.equal(p, moved[name]) for name, p in trained.items())
    for name, p in base_parameters(model).items():
        assert torch.equal(p, before[name]) or any(p is other for other in trained.values()), name


@every
def test_a_saved_adapter_comes_back_to_the_same_outputs(fields: dict[str, Any], tmp_path: Path) -> None:
    model = models.adapted("gpt2", models.method(**fields))
    wanted = models.logits(model)
    lora.merge(model)
    assert_close(models.logits(model), wanted, rtol=1e-5, atol=1e-5)
    save_adapter(model, tmp_path, base={})  # merged: what is written is not
    load_adapter(again := models.model("gpt2"), tmp_path)
    assert torch.equal(models.logits(again), wanted)


@NEW_FUNCTIONS
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("architecture", ["bert", "deberta", "gpt2"])
def test_rows_of_a_batch_go_through_adapters_of_their_own(architecture: str, training: bool,
                                                          fields: dict[str, Any]) -> None:
    model = two(architecture, **fields).train(training)
    batch = tokens(rows=len(ROWS))
    own = [i for i, row in enumerate(ROWS) if row == "b"]  # the active one, whose head counts
    with lora.route(model, ROWS):
        routed, together = logits(model, batch), gradients(model, batch, own)
    apart = gradients(model, batch, own)
    assert_close(routed[own], logits(model, batch)[own], rtol=1e-5, atol=1e-5)
    assert {name: g for name, g in together.items() if ".updates.b." in name}.keys() == apart.keys()
    for name, gradient in apart.items():
        assert_close(together[name], gradient, rtol=1e-4, atol=1e-5)


def test_several_adapters_of_different_kinds_share_one_base() -> None:
    model, wanted = tiny("roberta"), {}
    start = logits(model)
    for name, fields in NAMED.items():
        adapt(model, name, **fields)
        wanted[name] = logits(model)
    for name in NAMED:
        lora.activate(model, name)
        assert torch.equal(logits(model), wanted[name])
    for name in NAMED:
        lora.delete(model, name)
    with torch.no_grad():
        model.classifier.load_state_dict(tiny("roberta").classifier.state_dict())
    assert torch.equal(logits(model), start)


@pytest.mark.parametrize("held", ["4bit", "8bit"])
@but_pissa
def test_adapters_train_beside_weights_held_in_few_bits(held: str, fields: dict[str, Any]) -> None:
    """bitsandbytes' layers also work on a CPU, where no run may use them."""
    pytest.importorskip("bitsandbytes", reason="bitsandbytes comes with the extra quantised")
    from experiments.training.optimizer import hold_frozen
    from lora.adapter_file import fingerprint

    model = models.model("gpt2")
    start, before = models.logits(model), fingerprint(model, [])
    groups = models.method(**fields).apply(model, pooler="train")
    hold_frozen(model, held, torch.float32)
    for module in model.modules():
        if hasattr(module, "before"):
            module.weight = module.weight.to("cpu")  # bitsandbytes quantises here
    layer = next(layer for _, layer in lora.adapted_layers(model))
    assert layer.weight.dtype in (torch.uint8, torch.int8)
    assert_close(models.logits(model), start, rtol=0, atol=0.05)
    assert fingerprint(model, []) == before
    trained = [p for group in groups for p in group.parameters.values()]
    optimizer, losses, bits = torch.optim.AdamW(trained, lr=3e-3), [], layer.weight.clone()
    for _ in range(10):
        ids = torch.arange(21).view(3, 7) % 39 + 1
        losses.append(model(input_ids=ids, labels=torch.tensor([0, 1, 2])).loss)
        losses[-1].backward()
        assert all(p.grad is not None for p in trained)
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.9 * losses[0]
    assert torch.equal(layer.weight, bits)
    with pytest.raises(RuntimeError, match="cannot be merged: its update would be rounded to the few bits"):
        lora.merge(model)
