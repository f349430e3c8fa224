"""What holds for every file of conf/method on every architecture: it learns, leaves the base alone, and comes back."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lora import delete, disabled, load_adapter, save_adapter
from lora.bank import base_parameters
from tests.conftest import ROOT
from tests.lora import adapted_models as tiny
from tests.lora.adapted_models import small_method

WORDS = sorted(path.stem for path in (ROOT / "conf" / "method").glob("*.yaml"))
KINDS = ["bert", "roberta", "deberta-v2", "gpt2", "gpt2-lm"]


@torch.no_grad()
def wide(kind: str) -> PreTrainedModel:
    """A tiny model with matrices wide enough for its loss to show what happens below the head."""
    model = tiny.model(kind)
    if kind != "gpt2-lm":  # which is so
        for p in model.parameters():
            p *= 10 if p.dim() == 2 else 1
    return model


def loss_of(model: PreTrainedModel) -> Tensor:
    """On three rows that a model can tell apart: their labels, or of a language model the next token."""
    ids = tiny.rows()
    labels = ids if type(model).__name__.endswith("LMHeadModel") else torch.tensor([0, 1, 2])
    return model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss


def trained(model: PreTrainedModel, word: str, head: bool = True) -> tuple[dict[str, nn.Parameter], set[str]]:
    """Ten steps of AdamW, weight decay included, with the head or without: what may train, and what a gradient reached.

    A head alone learns these rows, so without it the loss shows what the method does.
    """
    torch.manual_seed(0)
    groups = small_method(word).apply(model, pooler="train")
    parameters = {name: p for group in groups for name, p in group.parameters.items()}
    moved = [p for group in groups if head or not group.head for p in group.parameters.values()]
    optimizer = torch.optim.AdamW(moved, lr=0.03, weight_decay=0.1)
    reached: set[str] = set()
    for _ in range(10):
        optimizer.zero_grad()
        loss_of(model).backward()
        reached |= {name for name, p in parameters.items() if p.grad is not None and p.grad.any()}
        optimizer.step()
    return parameters, reached


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("word", WORDS)
def test_the_loss_falls_and_the_base_is_bit_for_bit_what_it_was(word: str, kind: str) -> None:
    model = wide(kind)
    base, before = {name: p.detach().clone() for name, p in model.named_parameters()}, loss_of(model).item()
    parameters, reached = trained(model, word, head=False)
    assert loss_of(model).item() < 0.99 * before
    assert sorted(parameters.keys() - reached) == []
    if not small_method(word).keeps_base():
        return
    head = [name for name in base if name.startswith(("classifier", "score", "pooler", "bert.pooler"))]
    with disabled(model):
        now = base_parameters(model)
        assert all(torch.equal(now[name], base[name]) for name in base if name not in head)
    delete(model, "default")
    now = base_parameters(model)
    assert now.keys() == base.keys()
    assert all(torch.equal(now[name], base[name]) for name in base if name not in head)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("word", WORDS)
def test_what_was_saved_gives_the_same_outputs_when_loaded(word: str, kind: str, tmp_path: Path) -> None:
    model = tiny.model(kind)
    trained(model, word)
    wanted = tiny.logits(model)
    save_adapter(model, tmp_path, base={"name": kind})
    fresh = tiny.model(kind)
    assert not torch.allclose(tiny.logits(fresh), wanted)
    groups = load_adapter(fresh, tmp_path)
    assert torch.equal(tiny.logits(fresh), wanted)
    assert {id(p) for group in groups for p in group.parameters.values()} == {
        id(p) for p in fresh.parameters() if p.requires_grad}
