"""Rows of one batch through different adapters: outputs and gradients equal single runs."""

import pytest
import torch
from torch import Tensor

from lora import activate, adapters, delete, disable, disabled, merge, route
from tests.lora.tiny import ROWS, adapt, gradients, logits, tiny, tokens, two

ROUTABLE = ["bert", "roberta", "deberta", "gpt2", "llama"]  # DeBERTa-v2's position query has no row of its own
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("architecture", ROUTABLE)
def test_routed_rows_equal_single_runs_in_outputs_and_gradients(architecture: str, training: bool) -> None:
    model = two(architecture).double().train(training)  # in fp32 some CPUs' products differ by how rows are batched
    head = {key: value.clone() for key, value in model.state_dict().items()}  # of b: the active one's counts
    batch = tokens(rows=len(ROWS))
    with route(model, ROWS):
        routed = logits(model, batch)
        together = gradients(model, batch, list(range(len(ROWS))))
    apart: dict[str, Tensor] = {}
    for name in ("a", "b"):
        own = [i for i, row in enumerate(ROWS) if row == name]
        activate(model, name)
        with torch.no_grad():
            for key, value in model.state_dict().items():
                if ".updates." not in key:
                    value.copy_(head[key])
        torch.testing.assert_close(routed[own], logits(model, batch)[own], rtol=1e-5, atol=1e-5)
        apart |= gradients(model, batch, own)
    with disabled(model):
        base = [i for i, row in enumerate(ROWS) if row is None]
        torch.testing.assert_close(routed[base], logits(model, batch)[base], rtol=1e-5, atol=1e-5)
    assert together.keys() == apart.keys()
    assert {name.split(".updates.")[1][0] for name in together} == {"a", "b"}
    for name, gradient in together.items():
        torch.testing.assert_close(gradient, apart[name], rtol=1e-4, atol=1e-5)


def test_routing_everything_to_the_active_adapter_changes_nothing_and_ends_with_its_block() -> None:
    model, batch = two("roberta"), tokens()
    before = logits(model, batch)
    with route(model, ["b"] * 4):
        torch.testing.assert_close(logits(model, batch), before, rtol=1e-5, atol=1e-5)
    with pytest.raises(KeyError), route(model, ["a"] * 4):
        raise KeyError
    assert torch.equal(logits(model, batch), before)


@pytest.mark.parametrize(("rows", "error", "message"), [
    (["a", "c"], ValueError, "adapter 'c' is not one of a, b"),
    (["a"] * 3, RuntimeError, r"routing needs the batch in dimension 0: 3 rows, input \(4, 7, 16\)"),
])
def test_rows_that_cannot_be_routed_are_refused(rows: list[str], error: type[Exception], message: str) -> None:
    model = two("roberta")
    with pytest.raises(error, match=message), route(model, rows):
        logits(model)


def test_adapters_with_parameters_in_place_cannot_share_a_batch() -> None:
    model = two("roberta", bias="sites")
    with pytest.raises(RuntimeError, match="adapter 'a' trains base parameters in place"), route(model, ["a"] * 4):
        pass


def test_all_routed_adapters_train_within_the_block_only() -> None:
    model = two("roberta")
    before = {name for name, p in model.named_parameters() if p.requires_grad}
    with route(model, ["a", "a", None, "a"]):
        within = {name for name, p in model.named_parameters() if p.requires_grad}
    assert within - before == {name for name, _ in model.named_parameters() if ".updates.a." in name}
    assert {name for name, p in model.named_parameters() if p.requires_grad} == before


@pytest.mark.parametrize("act", [
    lambda model: activate(model, "a"), lambda model: delete(model, "a"), lambda model: adapt(model, "c"), merge,
    disable, lambda model: route(model, ["a"]).__enter__()],
    ids=["switch", "delete", "add", "merge", "disable", "route"])
def test_no_other_change_of_state_while_rows_are_routed(act: object) -> None:
    model = two("roberta")
    with (route(model, ["a"] * 4),
          pytest.raises(RuntimeError, match="rows of a batch are routed: leave that block before")):
        act(model)  # type: ignore[operator]
    assert adapters(model) == ["a", "b"]


@pytest.mark.parametrize("rows", [["authors"], ["authors", "b"]], ids=["one row", "two rows"])
def test_a_position_query_on_W0_cannot_be_routed(rows: list[str]) -> None:
    model = adapt(adapt(tiny("deberta-v2"), "authors", position_query=False), "b")
    with pytest.raises(RuntimeError, match="adapter 'authors': position_query=false cannot be routed"), \
            route(model, rows):
        pass


def test_deberta_v2_routes_one_row_rightly_and_refuses_more() -> None:
    model = two("deberta-v2")
    one, before = tokens(rows=1), logits(model, tokens(rows=1))
    with route(model, ["b"]):
        torch.testing.assert_close(logits(model, one), before, rtol=1e-5, atol=1e-5)
    with pytest.raises(RuntimeError, match="routing needs the batch in dimension 0: 4 rows"), route(model, ["b"] * 4):
        logits(model)
