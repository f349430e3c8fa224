"""What each method trains, what it leaves frozen, and what it refuses."""

import pytest
import torch
from torch import nn

from lora import BitFit, FullFineTuning, Method, adapters, disabled, merge
from lora.bank import base_parameters
from tests.lora.tiny import CONFIGS, D, adapt, lora, sites, tiny, tokens

FT, BITFIT = FullFineTuning(name="ft"), BitFit(name="bitfit")
HEAD = {"classifier.dense.weight", "classifier.dense.bias", "classifier.out_proj.weight", "classifier.out_proj.bias"}


def trained(model: nn.Module, method: Method) -> set[str]:
    """Names of the base parameters outside the head that `method` trains."""
    groups = method.apply(model, pooler="train")
    own = {id(p) for group in groups if not group.head for p in group.parameters.values()}
    return {name for name, p in base_parameters(model).items() if id(p) in own}


def test_full_fine_tuning_trains_every_weight_of_the_body() -> None:
    model = tiny("roberta")
    every = {name for name, _ in model.named_parameters()}
    assert trained(model, FT) == every - HEAD


@pytest.mark.parametrize("architecture", ["bert", "roberta", "deberta", "deberta-v2", "gpt2"])
def test_bitfit_trains_every_bias_of_the_body(architecture: str) -> None:
    model = tiny(architecture)
    body = getattr(model, model.base_model_prefix)
    biases = {f"{model.base_model_prefix}.{name}" for name, p in body.named_parameters()
              if "bias" in name and p.dim() == 1}
    biases -= {"bert.pooler.dense.bias"}
    assert trained(model, BITFIT) == biases


def test_bitfit_needs_biases() -> None:
    with pytest.raises(ValueError, match="bitfit: this llama model has no biases to train"):
        BITFIT.apply(tiny("llama"), pooler="train")


@pytest.mark.parametrize(("architecture", "bias"), [("llama", "all"), ("llama", "sites"), ("deberta", "sites")])
def test_biases_that_the_model_lacks_cannot_be_asked_for(architecture: str, bias: str) -> None:
    model = tiny(architecture)
    with pytest.raises(ValueError, match=f"bias={bias}: this {architecture} model has no such biases to train"):
        lora(bias=bias, layernorm=True).apply(model, pooler="train")
    assert not any(".updates." in name for name, _ in model.named_parameters())
    adapt(model)


Q0, V0 = "roberta.encoder.layer.0.attention.self.query", "roberta.encoder.layer.0.attention.self.value"


@pytest.mark.parametrize(("bias", "layernorm", "expected"), [
    ("none", False, {False: set()}),
    ("sites", False, {f"{name.replace('0', str(layer))}.bias" for name in (Q0, V0) for layer in (0, 1)}),
    ("all", False, "bias"),
    ("none", True, "LayerNorm"),
    ("all", True, "either"),
])
def test_biases_and_norms_train_beside_the_update_where_asked(bias: str, layernorm: bool, expected: object) -> None:
    model = tiny("roberta")
    body = {name for name, _ in model.named_parameters()} - HEAD
    biases = {name for name in body if name.endswith("bias")}
    norms = {name for name in body if "LayerNorm" in name}
    words = {"bias": biases, "LayerNorm": norms, "either": biases | norms}
    wanted = words[expected] if isinstance(expected, str) else set() if bias == "none" else expected
    assert trained(model, lora(bias=bias, layernorm=layernorm)) == wanted


@pytest.mark.parametrize("architecture", CONFIGS)
def test_layernorm_finds_each_architectures_own_norms(architecture: str) -> None:
    chosen = trained(tiny(architecture), lora(layernorm=True))
    assert len({name.rpartition(".")[0] for name in chosen}) >= 2 * 2  # at least two norms a layer


@pytest.mark.parametrize(("pooler", "expected"), [
    ("train", {"classifier.weight", "classifier.bias", "bert.pooler.dense.weight", "bert.pooler.dense.bias"}),
    ("frozen", {"classifier.weight", "classifier.bias"})])
@pytest.mark.parametrize("method", [lora(), FT, BITFIT], ids=["lora", "ft", "bitfit"])
def test_the_head_trains_with_every_method_and_is_apart(method: Method, pooler: str, expected: set[str]) -> None:
    own, head = method.apply(tiny("bert"), pooler=pooler)
    assert (own.head, head.head) == (False, True)
    assert set(head.parameters) == expected
    assert not expected & set(own.parameters)
    assert all(p.requires_grad for group in (own, head) for p in group.parameters.values())


@pytest.mark.parametrize("method", [lora(), lora(targets=["q", "k", "v", "o", "fc1", "fc2"]), BITFIT],
                         ids=["lora q v", "lora all", "bitfit"])
@pytest.mark.parametrize("architecture", ["roberta", "deberta", "gpt2"])
def test_frozen_means_frozen(architecture: str, method: Method) -> None:
    """After optimizer steps, weight decay included, what a method does not train is bit for bit what it was."""
    model = tiny(architecture).train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    torch.manual_seed(0)
    groups = method.apply(model, pooler="train")
    trains = {id(p) for group in groups for p in group.parameters.values()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    for step in range(3):
        model(**tokens(seed=step), labels=torch.tensor([0, 1, 2, 0])).loss.backward()
        optimizer.step()
    after = base_parameters(model)
    assert before.keys() == after.keys()
    for name, p in after.items():
        assert (id(p) in trains) or (p.grad is None and torch.equal(p, before[name])), name
    # a softmax does not see an offset common to all keys, so only a key's bias may have a zero gradient
    still = [key for group in groups for key, p in group.parameters.items() if p.grad is None]
    assert still == []


def initial_A(seed: int) -> list[torch.Tensor]:
    model = tiny("gpt2")
    torch.manual_seed(seed)
    groups = lora().apply(model, pooler="train")
    return [p.detach() for name, p in groups[0].parameters.items() if name.endswith(".A")]


def test_layers_start_from_different_A_and_a_seed_fixes_them() -> None:
    first, again, other = initial_A(0), initial_A(0), initial_A(1)
    assert len(first) == 2 * 2
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    everything = first + other
    assert not any(torch.equal(a, b) for i, a in enumerate(everything) for b in everything[:i])


def test_rank_and_alpha_by_target() -> None:
    model = adapt(tiny("gpt2"), rank={"q": 1, "v": 3}, alpha={"q": 2, "v": 9})
    updates = model.get_submodule(sites(model)[0]).of("default")
    assert {role: (u.rank, u.scaling) for role, u in updates.items()} == {"q": (1, 2.0), "v": (3, 3.0)}


@pytest.mark.parametrize(("changes", "message"), [
    (dict(rank=D + 1), r"layer\.0\.attention\.self\.query \(q\): rank 17 is not in 1\.\.16 for a 16 x 16 matrix"),
    (dict(rank=0), "rank 0 is not a whole number of at least 1"),
    (dict(rank=8.0), r"rank 8\.0 is not a whole number of at least 1"),
    (dict(rank=True), "rank True is not a whole number"),
    (dict(rank={"q": 2, "v": "2"}), "rank for target 'v' '2' is not a whole number of at least 1"),
    (dict(alpha=0), "alpha 0 is not a number above 0"),
    (dict(alpha="16"), "alpha '16' is not a number above 0"),
    (dict(alpha=float("nan")), "alpha nan is not a number above 0"),
    (dict(alpha={"q": 2, "v": None}), "alpha for target 'v' None is not a number above 0"),
    (dict(targets=["q", 3]), r"targets \['q', 3\] is not a list of words"),
    (dict(targets=None), "targets None is not a list of words"),
    (dict(layernorm="false"), "layernorm 'false' is not true or false"),
    (dict(rank_stabilised=1), "rank_stabilised 1 is not true or false"),
    (dict(position_query=None), "position_query None is not true or false"),
    (dict(dropout="0.1"), r"dropout '0\.1' is not a number of at least 0 and below 1"),
    (dict(bias="sits"), "bias 'sits' is not one of all, none, sites; did you mean 'sites'"),
    (dict(init="gausian"), "init 'gausian' is not one of gaussian, kaiming, pissa; did you mean 'gaussian'"),
    (dict(targets="qv"), r"targets 'qv' is not a list: write \[q,v\]"),
    (dict(rank={"q": 2}), "rank for target 'v' is not one of q"),
    (dict(rank={"q": 2, "v": 2, "o": 2}), "target of rank 'o' is not one of q, v"),
    (dict(bias=None), "bias None is not one of all, none, sites"),
    (dict(targets=["q", "*.query"]), r"query \(weight\): adapter 'default' already updates 'q' here"),
    (dict(dropout=1.0), r"dropout 1\.0 is not a number of at least 0 and below 1"),
    (dict(position_query=False), "position_query=false is for DeBERTa-v2 models"),
])
def test_a_bad_option_is_named_and_leaves_no_half_adapter(changes: dict[str, object], message: str) -> None:
    model = tiny("roberta")
    with pytest.raises(ValueError, match=message):
        lora(**changes).apply(model, pooler="train")
    assert adapters(model) == []
    adapt(model)


def test_an_adapter_name_is_plain() -> None:
    with pytest.raises(ValueError, match=r"adapter name 'a\.b' may hold letters"):
        adapt(tiny("roberta"), adapter="a.b")


def test_a_name_is_given_once() -> None:
    with pytest.raises(ValueError, match="adapter 'a' exists already; the model has a"):
        adapt(adapt(tiny("roberta"), "a"), "a")


def test_full_fine_tuning_shares_a_model_with_nothing() -> None:
    with pytest.raises(RuntimeError, match="ft trains every weight: it cannot share a model with other adapters"):
        FT.apply(adapt(tiny("roberta"), "a"), pooler="train")
    model = tiny("roberta")
    FT.apply(model, pooler="train")
    with pytest.raises(RuntimeError, match="trained the base weights themselves and no copy of the base is kept"):
        adapt(model, "b")
    with pytest.raises(RuntimeError, match="no copy of the base is kept"), disabled(model):
        pass
    assert sites(model) == []


# DeBERTa-v2's position query (the authors' code leaves it on W0; PEFT and every merge reach it)

def plain_position_query(model: nn.Module) -> nn.Module:
    """Make the position query use a plain nn.Linear of W0, whatever happens to query_proj: the authors' function."""
    for attention in model.modules():
        if hasattr(attention, "disentangled_attention_bias"):
            adapted = attention.query_proj
            linear = nn.Linear(D, D)
            linear.load_state_dict(adapted.base.state_dict())
            original = type(attention).disentangled_attention_bias

            def bias(*args, attention=attention, adapted=adapted, linear=linear, original=original):
                attention.query_proj = linear
                try:
                    return original(attention, *args)
                finally:
                    attention.query_proj = adapted

            attention.disentangled_attention_bias = bias
    return model


def test_position_query_false_is_the_authors_function() -> None:
    default, authors = adapt(tiny("deberta-v2")), adapt(tiny("deberta-v2"), position_query=False)
    oracle = plain_position_query(adapt(tiny("deberta-v2")))
    batch = tokens()
    torch.testing.assert_close(authors(**batch).logits, oracle(**batch).logits)
    assert (authors(**batch).logits - default(**batch).logits).abs().max() > 1e-3


def test_position_query_false_refuses_to_merge_and_the_default_merges_exactly() -> None:
    with pytest.raises(RuntimeError, match="position_query=false cannot be merged"):
        merge(adapt(tiny("deberta-v2"), position_query=False))
    model, batch = adapt(tiny("deberta-v2")), tokens()
    before = model(**batch).logits
    merge(model)
    torch.testing.assert_close(model(**batch).logits, before, rtol=1e-5, atol=1e-5)


def test_the_position_query_follows_the_active_adapter() -> None:
    """One model with an adapter of each kind: each is what it is alone."""
    batch = tokens()
    both = adapt(adapt(tiny("deberta-v2"), "authors", position_query=False), "default", seed=3)
    alone = adapt(tiny("deberta-v2"), "default", seed=3)
    with torch.no_grad():
        both.classifier.load_state_dict(alone.classifier.state_dict())
        both.pooler.load_state_dict(alone.pooler.state_dict())
    torch.testing.assert_close(both(**batch).logits, alone(**batch).logits)
