"""A step on fake tensors counts what a hand count, torch's FLOP counter and autograd's own hooks say."""

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from experiments.measure.shadow import Ledger, StepCost, shadow

ROWS, N_IN, HIDDEN, N_OUT = 5, 7, 11, 3
WEIGHTS = (N_IN * HIDDEN + HIDDEN, HIDDEN * N_OUT + N_OUT)  # of the two layers


def two_layers(train_first: bool) -> tuple[nn.Module, torch.optim.Optimizer, Tensor]:
    """Linear, tanh, Linear in fp32; the first layer trains or is frozen."""
    model = nn.Sequential(nn.Linear(N_IN, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, N_OUT))
    model[0].requires_grad_(train_first)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return model, torch.optim.AdamW(trained, fused=True), torch.randn(ROWS, N_IN)


def cost(train_first: bool) -> StepCost:
    with FakeTensorMode():
        model, optimizer, x = two_layers(train_first)
        return shadow(model, optimizer, lambda: model(x).sum())


@pytest.mark.parametrize("train_first", [True, False])
def test_a_two_layer_models_flops_are_those_counted_by_hand(train_first: bool) -> None:
    first, second = 2 * ROWS * N_IN * HIDDEN, 2 * ROWS * HIDDEN * N_OUT
    found = cost(train_first)
    assert found.forward.flops == first + second
    # the second layer's weights train: as much again; the first's need a gradient of their output and of themselves
    assert found.backward.flops == second + (second + first if train_first else 0)
    assert found.update.flops == 0


@pytest.mark.parametrize("train_first", [True, False])
def test_a_two_layer_models_bytes_are_those_counted_by_hand(train_first: bool) -> None:
    found, trained = cost(train_first), sum(WEIGHTS) if train_first else WEIGHTS[1]
    assert found.weight_bytes == 4 * sum(WEIGHTS)
    assert found.gradient_bytes == 4 * trained
    steps = 4 * (4 if train_first else 2)  # of each tensor, a number that counts its steps
    assert found.optimizer_bytes == 2 * 4 * trained + steps
    # kept: tanh's output, for its own gradient or the second weight's, and the sum
    assert found.activation_bytes == 4 * ROWS * HIDDEN + 4


def test_the_high_water_mark_holds_the_optimizers_states_of_the_steps_before() -> None:
    found = cost(train_first=True)
    assert found.peak_bytes >= found.weight_bytes + found.gradient_bytes + found.optimizer_bytes
    assert found.peak_bytes >= found.weight_bytes + found.optimizer_bytes + found.activation_bytes
    least = 4 * ROWS * (N_OUT + HIDDEN)  # gradients of both layers' outputs, at the most
    assert found.peak_bytes <= (found.weight_bytes + found.gradient_bytes + found.optimizer_bytes
                                + found.activation_bytes + 2 * least)


def test_the_high_water_mark_is_of_what_is_there_at_one_time() -> None:
    """Frozen layers keep nothing, so of two large outputs one after the other the first is gone before the second."""
    large = 1000
    with FakeTensorMode():
        frozen = [nn.Linear(*shape) for shape in 2 * [(N_IN, large), (large, N_IN)]]
        model = nn.Sequential(*frozen, nn.Linear(N_IN, N_OUT)).requires_grad_(False)
        last = [parameter.requires_grad_() for parameter in model[-1].parameters()]
        x = torch.randn(ROWS, N_IN)
        found = shadow(model, torch.optim.AdamW(last, fused=True), lambda: model(x).sum())
    second = 4 * ROWS * (N_IN + large)  # what it is made of, and itself
    assert found.peak_bytes == found.weight_bytes + found.optimizer_bytes + second


def test_what_other_operations_move_is_counted_by_hand() -> None:
    with FakeTensorMode():
        model, optimizer, x = two_layers(train_first=True)
        found = shadow(model, optimizer, lambda: model(x).sum())
    tanh, total = 2 * ROWS * HIDDEN, ROWS * N_OUT + 1  # read and write; read, and one number written
    assert found.forward.moved_bytes == 4 * (tanh + total)


def test_rows_of_several_tokens_move_what_as_many_rows_do() -> None:
    """A product of (rows, tokens, n) is one of (rows * tokens, n) and a view of what it gives."""
    def forward(*shape: int) -> int:
        with FakeTensorMode():
            model, optimizer, _ = two_layers(train_first=True)
            x = torch.randn(*shape, N_IN)
            return shadow(model, optimizer, lambda: model(x).sum()).forward.moved_bytes

    assert forward(2, 3) == forward(6)


def test_a_tensor_without_values_moves_nothing() -> None:
    with FakeTensorMode(), Ledger([]) as ledger:
        torch.empty(9)
        like = torch.empty_like(torch.ones(9))
        like.new_empty(9)
    assert ledger.moved_bytes == 4 * 9  # the ones


@pytest.mark.parametrize("train_first", [True, False])
def test_an_update_reads_and_writes_parameters_gradients_and_both_moments(train_first: bool) -> None:
    """Gradients too: torch's fused AdamW declares that it may scale them. The states are there before."""
    trained, tensors = (sum(WEIGHTS), 4) if train_first else (WEIGHTS[1], 2)
    counters = 3 * 4 * tensors  # of steps: one more in each, read and written; then read
    assert cost(train_first).update.moved_bytes == 2 * 4 * 4 * trained + counters


def test_a_view_moves_nothing_and_holds_nothing_more() -> None:
    def forward(view: bool) -> StepCost:
        with FakeTensorMode():
            model, optimizer, x = two_layers(train_first=True)
            if view:
                return shadow(model, optimizer, lambda: model(x.view(N_IN, ROWS).view(ROWS, N_IN)).T.sum())
            return shadow(model, optimizer, lambda: model(x).sum())

    assert forward(view=True).forward == forward(view=False).forward
    assert forward(view=True).activation_bytes == forward(view=False).activation_bytes


def test_a_real_steps_flops_are_what_torch_counts() -> None:
    model, _, x = two_layers(train_first=True)
    with FlopCounterMode(display=False) as counter:
        model(x).sum().backward()
    found = cost(train_first=True)
    assert found.forward.flops + found.backward.flops == counter.get_total_flops()
