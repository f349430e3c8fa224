"""Where each adapter's bottleneck goes, computed by hand; how it starts, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from lora import AdapterD, AdapterH, AdapterL, AdapterP, Method, TopBlocks, delete, disabled, merge, route
from lora.count import count
from lora.injected import slots
from lora.sites import find_places, find_sites
from tests.lora.adapted_models import logits, model

FIELDS: dict[str, Any] = dict(bottleneck=1, nonlinearity="relu", init="gaussian", init_std=0.02)
KINDS: dict[str, Callable[..., Method]] = {
    "adapter_h": AdapterH, "adapter_l": AdapterL, "adapter_p": AdapterP,
    "adapter_d": lambda **fields: AdapterD(**{"dropped_layers": 1, **fields})}


def method(word: str, **changes: Any) -> Method:
    return KINDS[word](**{"name": word, **FIELDS, **changes})


class Double(nn.Module):
    """Stands for a LayerNorm, so that the arithmetic can be done by hand."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def by_hand(architecture: str) -> PreTrainedModel:
    """Two layers of width 2 whose attention gives (1, 0) and whose MLP gives (0, 2), whatever they read.

    In an encoder each block computes x1 = 2 (x + (1, 0)), then 2 (x1 + (0, 2)); in GPT-2 x + (1, 0) + (0, 2).
    """
    sizes = {"hidden_size": 2, "num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 3,
             "vocab_size": 5, "max_position_embeddings": 8}
    config = AutoConfig.for_model(architecture, **sizes, **({"pad_token_id": 0} if architecture == "gpt2" else {}))
    made = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for role, gives in (("o", (1.0, 0.0)), ("fc2", (0.0, 2.0))):
            for site in find_sites(made, [role]):
                dense = made.get_submodule(site.module)
                dense.weight.zero_()  # type: ignore[operator, union-attr]
                dense.bias.copy_(torch.tensor(gives))  # type: ignore[operator, union-attr]
    for name, _ in list(made.named_modules()):
        if ".layer." in name and name.endswith("LayerNorm"):
            made.set_submodule(name, Double())
    return made


@torch.no_grad()
def set_by_hand(made: PreTrainedModel) -> None:
    """Every bottleneck adds (relu(x1 + x2), 0); a LayerNorm of its own has bias (0, 1), so that it sums to 1."""
    for _, slot in slots(made):
        part = slot["default"]
        part.down.weight.copy_(torch.tensor([[1.0, 1.0]]))
        part.up.weight.copy_(torch.tensor([[1.0], [0.0]]))
        if isinstance(part.norm, nn.LayerNorm):
            part.norm.bias.copy_(torch.tensor([0.0, 1.0]))


@torch.no_grad()
def blocks(made: PreTrainedModel) -> list[float]:
    """What the two blocks make of (0, 0)."""
    x, body = torch.zeros(1, 1, 2), made.base_model
    if made.config.model_type == "gpt2":
        for block in body.h:
            x = block(x)
        return x[0, 0].tolist()
    mask = torch.ones(1, 1) if made.config.model_type == "deberta-v2" else None
    return body.encoder(x, mask).last_hidden_state[0, 0].tolist()


ENCODER = {
    # layer 1: x1 = 2 ((1,0) + (1,0)) = (4,0); 2 (x1 + (0,2) + (2,0)) = (12,4). layer 2: (28,8), (60,20)
    "adapter_h": [60, 20],
    # layer 1: x1 = (2,0), z = x1 + (0,2) = (2,2), LN z = (4,4), 2 (z + (8,0)) = (20,4). layer 2: x1 = (42,8),
    # z = (42,10), LN z = (84,20), 2 (z + (104,0)) = (292,20)
    "adapter_p": [292, 20],
    # layer 1: x1 = (2,0), 2 (2,2) = (4,4), + (1,0) = (5,4). layer 2: x1 = (12,8), (24,20) + (1,0)
    "adapter_l": [25, 20],
    # layer 1 has none: (4,4). layer 2: x1 = (10,8), z = (10,10), LN z = (20,20), 2 (z + (40,0)) = (100,20)
    "adapter_d": [100, 20],
}
GPT2 = {
    # each layer adds (1,0) + (1,0) and (0,2) + (2,0)
    "adapter_h": [8, 4],
    # layer 1: z = (1,2), + (3,0) = (4,2). layer 2: z = (5,4), + (9,0) = (14,4)
    "adapter_p": [14, 4],
    # each layer adds (1,0) and (0,2), then (1,0)
    "adapter_l": [4, 4],
    # layer 1: (1,2). layer 2: z = (2,4), + (6,0) = (8,4)
    "adapter_d": [8, 4],
}


@pytest.mark.parametrize("word", KINDS)
@pytest.mark.parametrize(("architecture", "expected", "plain"), [
    ("bert", ENCODER, [20, 20]), ("roberta", ENCODER, [20, 20]), ("deberta-v2", ENCODER, [20, 20]),
    ("gpt2", GPT2, [2, 4])])
def test_two_layers_by_hand(architecture: str, expected: dict[str, list[float]], plain: list[float], word: str) -> None:
    made = by_hand(architecture)
    assert blocks(made) == plain
    method(word).apply(made, pooler="train")
    set_by_hand(made)
    assert blocks(made) == pytest.approx(expected[word], abs=1e-3)  # a LayerNorm's own epsilon
    with disabled(made):
        assert blocks(made) == plain
    delete(made, "default")
    assert blocks(made) == plain


@pytest.mark.parametrize(("word", "expected"), [
    # section 5.1: |theta| = n_layers x (2 d r + r + d), + 2 d for each LayerNorm that trains; H has two a layer
    ("adapter_h", 2 * 2 * (2 * 16 * 3 + 3 + 16)), ("adapter_p", 2 * (2 * 16 * 3 + 3 + 16)),
    ("adapter_l", 2 * (2 * 16 * 3 + 3 + 16 + 2 * 16)), ("adapter_d", 1 * (2 * 16 * 3 + 3 + 16))])
@pytest.mark.parametrize("kind", ["bert", "roberta", "deberta", "deberta-v2", "gpt2", "gpt2-lm"])
def test_counts_follow_the_formulae(kind: str, word: str, expected: int) -> None:
    assert count(model(kind), method(word, bottleneck=3), "train").trainable == expected


@pytest.mark.parametrize("nonlinearity", ["relu", "gelu", "swish", "tanh"])
def test_the_nonlinearity_is_the_named_function(nonlinearity: str) -> None:
    made = model("bert")
    method("adapter_h", nonlinearity=nonlinearity, bottleneck=4, init_std=1.0).apply(made, pooler="train")
    part, x = next(slot["default"] for _, slot in slots(made)), torch.randn(5, 16)
    low = x @ part.down.weight.T
    wanted = {"relu": low * (low > 0), "gelu": low * (1 + torch.erf(low / 2 ** 0.5)) / 2,
              "swish": low / (1 + torch.exp(-low)), "tanh": (torch.exp(2 * low) - 1) / (torch.exp(2 * low) + 1)}
    torch.testing.assert_close(part(x), wanted[nonlinearity] @ part.up.weight.T)


@pytest.mark.parametrize("word", KINDS)
@pytest.mark.parametrize("kind", ["bert", "deberta-v2", "gpt2"])
def test_it_starts_at_or_near_the_identity(kind: str, word: str) -> None:
    base = logits(model(kind))
    distances = {}
    for init, std in (("identity", 0.02), ("gaussian", 0.02), ("gaussian", 1.0)):
        made = model(kind)
        method(word, init=init, init_std=std, bottleneck=8).apply(made, pooler="train")
        distances[init, std] = (logits(made) - base).abs().max().item()
    assert distances["gaussian", 0.02] < 0.2 * distances["gaussian", 1.0]
    # adapter_p's LN(z + 0) is the same LN(z)
    assert distances["identity", 0.02] == 0.0 < distances["gaussian", 0.02]


def test_layers_start_differently_and_a_seed_fixes_them() -> None:
    def start(seed: int) -> list[Tensor]:
        made = model("gpt2")
        torch.manual_seed(seed)
        own = method("adapter_h", bottleneck=4).apply(made, pooler="train")[0]
        return [p.detach() for name, p in own.parameters.items() if name.endswith("weight")]

    first, again, other = start(0), start(0), start(1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    everything = first + other
    assert not any(a.shape == b.shape and torch.equal(a, b) for i, a in enumerate(everything) for b in everything[:i])
    assert torch.cat([p.flatten() for p in first]).std().item() == pytest.approx(0.02, rel=0.15)


def test_it_is_kept_in_fp32_beside_a_base_in_bf16() -> None:
    made = model("bert").to(torch.bfloat16)
    own = method("adapter_l").apply(made, pooler="train")[0]
    assert {p.dtype for p in own.parameters.values()} == {torch.float32}
    assert logits(made).dtype == torch.bfloat16


def test_checkpointed_blocks_give_the_same_gradients() -> None:
    def gradients(checkpointing: bool) -> dict[str, Tensor]:
        made = model("gpt2").train()
        torch.manual_seed(1)
        own = method("adapter_l", init_std=0.3).apply(made, pooler="train")[0]
        if checkpointing:
            made.activation_checkpointing_enable({"use_reentrant": False})
        ids = torch.arange(1, 15).view(2, 7)
        made(input_ids=ids, attention_mask=torch.ones_like(ids), labels=torch.tensor([0, 2])).loss.backward()
        return {name: p.grad for name, p in own.parameters.items() if p.grad is not None}

    torch.testing.assert_close(gradients(True), gradients(False))


def test_globs_of_another_adapter_do_not_find_it() -> None:
    made = model("bert")
    before = find_sites(made, ["*"])
    method("adapter_h").apply(made, pooler="train")
    assert find_sites(made, ["*"]) == before


@pytest.mark.parametrize("word", KINDS)
def test_it_neither_merges_nor_shares_a_batch(word: str) -> None:
    made = model("bert")
    method(word).apply(made, pooler="train", adapter="mine")
    with pytest.raises(RuntimeError, match=f"{word} cannot be merged: its bottlenecks have a non-linearity"):
        merge(made)
    with pytest.raises(RuntimeError, match=f"adapter 'mine': {word} cannot be routed"), route(made, ["mine"]):
        pass


@pytest.mark.parametrize(("word", "changes", "message"), [
    ("adapter_h", dict(bottleneck=0), "bottleneck 0 is not a whole number of at least 1"),
    ("adapter_h", dict(bottleneck=True), "bottleneck True is not a whole number"),
    ("adapter_h", dict(bottleneck=17), r"bottleneck 17 is not in 1\.\.16 for hidden states of 16"),
    ("adapter_l", dict(nonlinearity="rleu"), "nonlinearity 'rleu' is not one of gelu, relu, swish, tanh; did you mean"),
    ("adapter_p", dict(init="zero"), "init 'zero' is not one of gaussian, identity"),
    ("adapter_p", dict(init_std=0), "init_std 0 is not a number above 0"),
    ("adapter_p", dict(init_std="0.02"), r"init_std '0\.02' is not a number above 0"),
    ("adapter_d", dict(dropped_layers=-1), "dropped_layers -1 is not a whole number of at least 0"),
    ("adapter_d", dict(dropped_layers=2), r"dropped_layers 2 is not in 0\.\.1: the model has 2 layers"),
])
def test_what_does_not_fit_is_refused_and_leaves_the_model_alone(word: str, changes: dict[str, Any],
                                                                 message: str) -> None:
    made = model("bert")
    with pytest.raises(ValueError, match=message):
        method(word, **changes).apply(made, pooler="train")
    assert list(slots(made)) == []


def test_the_last_blocks_train_and_nothing_else() -> None:
    made = model("gpt2-lm")
    own, = TopBlocks(name="ft_top1", blocks=1).apply(made, pooler="train")
    assert set(own.parameters) == {name for name, _ in model("gpt2-lm").named_parameters() if ".h.1." in name}
    with pytest.raises(ValueError, match=r"blocks 3 is not in 1\.\.2, the blocks of this model"):
        TopBlocks(name="ft_top3", blocks=3).apply(model("bert"), pooler="train")


def test_an_architecture_without_known_places_is_named() -> None:
    made = model("bert")
    made.config.model_type = "t5"
    with pytest.raises(ValueError, match="architecture 't5' is not one of bert, deberta, deberta-v2, gpt2, llama"):
        find_places(made, "block")
