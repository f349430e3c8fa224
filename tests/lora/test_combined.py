"""Several methods as one adapter do what each does, and refuse what one of them refuses."""

from itertools import permutations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from lora import (
    AdapterL,
    AdapterP,
    BitFit,
    Combined,
    FullFineTuning,
    Method,
    PrefixEmbed,
    PrefixLayer,
    TopBlocks,
    activate,
    adapters,
    delete,
    disabled,
    merge,
    route,
)
from lora.bank import base_parameters
from lora.count import count
from tests.lora.extended import (
    WORDS,
    by_layer,
    extended,
    kind_of,
    language_model,
    plain,
    prefix,
    some_vectors,
    written_out,
)
from tests.lora.tiny import LAYERS, D, logits, lora, tiny, tokens


def combined(**parts: Method) -> Combined:
    return Combined(name="+".join(parts), parts=parts)


@pytest.mark.parametrize("kind", [PrefixEmbed, PrefixLayer])
@pytest.mark.parametrize("architecture", ["bert", "roberta", "deberta-v2", "gpt2"])
def test_counts_are_sums(architecture: str, kind: type[PrefixEmbed]) -> None:
    with torch.device("meta"):
        both = count(tiny(architecture), combined(lora=lora(), prefix=prefix(kind)), "train")
    updates, vectors = LAYERS * 2 * 2 * (D + D), (LAYERS if kind is PrefixLayer else 1) * D * (3 + 2)
    assert both.trainable == updates + vectors


@torch.no_grad()
def test_lora_with_a_prefix_is_merged_lora_with_special_tokens_in_the_text() -> None:
    base, vectors = language_model(), some_vectors()
    model = language_model()
    groups = combined(lora=lora(), prefix=prefix()).apply(model, pooler="train")
    assert [group.name for group in groups] == ["lora", "prefix_embed"]
    updates = groups[0].parameters
    assert len(updates) == LAYERS * 2 * 2
    for parameter in updates.values():
        parameter.normal_(std=0.2)
    for own in groups[1].parameters.values():
        own.copy_(vectors)
    for number, block in enumerate(model.transformer.h):
        base.transformer.h[number].attn.c_attn.weight += block.attn.c_attn.delta("default").T
    longer = written_out("language model", "left")
    wanted = extended(base, vectors)(**longer.inputs()).logits
    ours = model(**plain("left").inputs()).logits
    assert_close(plain("left").of(ours), longer.of(wanted)[:, :WORDS], rtol=1e-5, atol=1e-5)


def test_two_methods_that_train_the_same_parameter_are_refused_and_leave_nothing() -> None:
    model = tiny("roberta")
    before = [name for name, _ in model.named_parameters()]
    with pytest.raises(ValueError, match=r"bitfit\+lora: bitfit and lora both train roberta\.\S+bias \(of \d+\)"):
        combined(bitfit=BitFit(name="bitfit"), lora=lora(bias="all")).apply(model, pooler="train")
    with pytest.raises(ValueError, match=r"a\+b, part b: .*already updates 'q' here"):
        combined(a=lora(), b=lora()).apply(model, pooler="train")
    with pytest.raises(ValueError, match=r"a\+b, part b: .*query \(weight\): .* already updates 'q' here"):
        combined(a=lora(targets=["q"]), b=lora(targets=["*.query"])).apply(model, pooler="train")
    with pytest.raises(ValueError, match=r"a\+b, part b: roberta: adapter 'default' already has its AddedPositions"):
        combined(a=prefix(), b=prefix(PrefixLayer)).apply(model, pooler="train")
    assert adapters(model) == []
    combined(lora=lora(), prefix=prefix()).apply(model, pooler="train")
    delete(model, "default")
    assert list(base_parameters(model)) == before


@pytest.mark.parametrize("architecture", ["roberta", "deberta-v2", "gpt2"])
@pytest.mark.parametrize("changes", [{}, {"dora": True}, {"init": "pissa"}])
def test_a_method_that_trains_the_weight_another_has_frozen_is_refused(
    architecture: str, changes: dict[str, object]
) -> None:
    model, top, ft = tiny(architecture), TopBlocks(name="ft_top1", blocks=1), FullFineTuning(name="ft")
    before = [name for name, _ in model.named_parameters()]
    for whole in (top, ft):
        for parts in ({"lora": lora(**changes), "whole": whole}, {"whole": whole, "lora": lora(**changes)}):
            with pytest.raises(ValueError, match=r"whole trains \S+\.weight \(of \d+\) itself, and the update of lora"):
                combined(**parts).apply(model, pooler="train")
    assert (adapters(model), list(base_parameters(model))) == ([], before)
    below = f"*{'h' if architecture == 'gpt2' else 'layer'}.0.*{'c_attn' if architecture == 'gpt2' else 'output.dense'}"
    groups = combined(lora=lora(**changes, targets=[below]), top=top).apply(model, pooler="train")
    assert [group.name for group in groups][:2] == ["lora", "ft_top1"]  # no weight is in both


def test_biases_train_in_place_beside_an_update() -> None:
    combined(lora=lora(), bitfit=BitFit(name="bitfit")).apply(tiny("roberta"), pooler="train")


def bottlenecks(**changes: object) -> AdapterL:
    fields = {"bottleneck": 4, "nonlinearity": "relu", "init": "gaussian", "init_std": 0.2} | changes
    return AdapterL(name="adapter_l", **fields)  # type: ignore[arg-type]


@torch.no_grad()
@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_vectors_and_a_bottleneck_at_one_block_are_both_at_work(architecture: str) -> None:
    """By hand: rows with special tokens, whose activations are replaced before each block, a bottleneck behind it."""
    torch.manual_seed(0)
    model, side = tiny(architecture), "left" if architecture == "gpt2" else "right"
    rows, longer = plain(side), written_out(kind_of(architecture), side)
    added, base = longer.ids >= WORDS, extended(tiny(architecture), some_vectors())
    first, second = (combined(**dict(order)).apply(model, pooler="train", adapter=f"in_order_{i}") for i, order in
                     enumerate(permutations({"bottlenecks": bottlenecks(), "vectors": prefix(PrefixLayer)}.items())))
    same = {group.name: list(group.parameters.values()) for group in first}
    for group in second:
        for ours, theirs in zip(group.parameters.values(), same[group.name], strict=True):
            ours.copy_(theirs)
    blocks = base.bert.encoder.layer if architecture == "bert" else base.transformer.h
    entering = by_layer(next(group.parameters for group in first if group.name == "prefix_layer"))
    assert len(same["adapter_l"]) == LAYERS * 6
    for number, (block, vectors) in enumerate(zip(blocks, entering, strict=True)):
        own = same["adapter_l"][6 * number:6 * number + 6]

        def replaced(_: nn.Module, args: tuple[Tensor, ...], vectors: Tensor = vectors) -> tuple[Tensor, ...]:
            hidden = args[0].clone()
            hidden[added] = vectors.repeat(len(hidden), 1)
            return hidden, *args[1:]

        def behind(_: nn.Module, __: object, h: Tensor, own: list[Tensor] = own) -> Tensor:
            gain, shift, down, down_bias, up, up_bias = own
            low = F.linear(F.layer_norm(h, (D,), gain, shift), down, down_bias)
            return h + F.linear(low.relu(), up, up_bias)

        block.register_forward_pre_hook(replaced)
        block.register_forward_hook(behind)
    wanted = longer.of(base.base_model(**longer.inputs())[0])
    for name in adapters(model):
        activate(model, name)
        assert_close(rows.of(model.base_model(**rows.inputs())[0]), wanted, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_bottlenecks_at_one_block_follow_each_other() -> None:
    """In GPT-2 adapter_l and adapter_p are both behind the block: h + L(h), then what P adds to that."""
    torch.manual_seed(0)
    model = tiny("gpt2")
    first, second = bottlenecks(), AdapterP(name="adapter_p", bottleneck=3, nonlinearity="relu", init="gaussian",
                                            init_std=0.2)
    combined(l=first, p=second).apply(model, pooler="train")
    block, h = model.transformer.h[0], torch.randn(2, 3, D)
    slot = block.injected["default"]
    with disabled(model):
        plain_block = block(h)
    behind = plain_block + slot(plain_block)
    assert_close(block(h), behind + slot.then(behind))


def test_what_one_part_refuses_the_combination_refuses() -> None:
    model = tiny("bert")
    both = combined(lora=lora(), prefix=prefix())
    both.apply(model, pooler="train")
    with pytest.raises(RuntimeError, match="prefix_embed cannot be merged: its vectors stand at positions"):
        merge(model)
    with pytest.raises(RuntimeError, match="prefix_embed cannot be routed"), route(model, ["default"]):
        pass
    assert both.positions() == 5
    assert combined(lora=lora(), bitfit=BitFit(name="bitfit")).merge_refusal() is None
    assert not combined(lora=lora(), ft=FullFineTuning(name="ft")).keeps_base()


def test_a_prefix_and_an_update_are_switched_on_one_model() -> None:
    model = tiny("gpt2")
    before = logits(model)
    torch.manual_seed(0)
    prefix().apply(model, pooler="train", adapter="words")
    alone = logits(model)
    lora().apply(model, pooler="train", adapter="updates")
    assert torch.equal(logits(model), before)  # B is zero
    activate(model, "words")
    assert torch.equal(logits(model), alone)
    with disabled(model):
        assert torch.equal(logits(model), before)
    with route(model, ["updates", None, "updates", None]):
        assert torch.equal(logits(model, tokens()), before)
    delete(model, "words")
    assert not any("injected" in name for name, _ in model.named_modules())


@pytest.mark.parametrize(("parts", "message"), [
    ({"lora": lora()}, "lora combines 1 methods: name two or more"),
    ({"lora": lora(), "other": {"rank": 8}}, r"part 'other' of lora\+other is \{'rank': 8\}, not a method"),
])
def test_parts_that_are_none_are_refused(parts: dict[str, Method], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        combined(**parts)


@pytest.mark.parametrize(("changes", "message"), [
    ({"l_p": -1}, "l_p -1 is not a whole number of at least 0"),
    ({"l_i": 2.0}, r"l_i 2\.0 is not a whole number of at least 0"),
    ({"l_p": True}, "l_p True is not a whole number of at least 0"),
    ({"separator": "<s>"}, "separator '<s>' is not a whole number of at least 0"),
    ({"init": "word"}, "init 'word' is not one of gaussian, words; did you mean 'words'"),
])
def test_a_bad_option_of_a_prefix_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prefix(**changes)
