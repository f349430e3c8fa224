"""Which updates of an adapter are studied, and which of two adapters are the same matrix."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from analysis.adapters.pair import pair
from analysis.adapters.read import AdapterUpdates, read_updates, select
from tests.analysis.made import by_peft, ours, spoil


@pytest.fixture
def adapter(tmp_path: Path) -> AdapterUpdates:
    return read_updates(ours("bert", tmp_path / "a"))


def test_updates_are_chosen_by_role_and_layer(adapter: AdapterUpdates):
    assert [(u.layer, u.role) for u in select(adapter, ["v"], [1])] == [(1, "v")]
    assert select(adapter) == adapter.updates
    assert [u.role for u in select(adapter, ["query"])] == ["q", "q"]


@pytest.mark.parametrize(("roles", "layers", "message"), [
    (["k"], None, r"role 'k' of \S*/a is not one of q, v"),
    (["qeury"], None, r"role 'qeury' .* is not one of q, v; did you mean 'query'\?"),
    (None, [2], r"layer 2 of \S*/a is not one of 0, 1"),
])
def test_what_is_not_there_cannot_be_chosen(adapter: AdapterUpdates, roles: list, layers: list, message: str):
    with pytest.raises(ValueError, match=message):
        select(adapter, roles, layers)


def test_the_problems_of_an_adapter_explain_a_site_that_is_not_there(tmp_path: Path):
    adapter = read_updates(spoil(lambda t: [t[key].zero_() for key in t if "query.lora_B" in key], tmp_path))
    with pytest.raises(ValueError, match=r"role 'q' of .* is not one of v \(bert.*query.*is zero: this site is untrai"):
        select(adapter, ["q"])


def test_pairs_are_the_same_matrices_whatever_their_ranks_layouts_and_prefixes(adapter: AdapterUpdates, tmp_path: Path):
    by_peft("bert", tmp_path / "b", ["query", "key"], r=5)
    other = read_updates(tmp_path / "b")
    bare = replace(other, updates=[replace(u, module=u.module.removeprefix("bert.")) for u in other.updates])
    for b in (other, bare):
        found = pair(adapter, b)
        assert [(x.layer, x.role, y.layer, y.role, x.rank, y.rank) for x, y in found.pairs] == [
            (0, "q", 0, "q", 2, 5), (1, "q", 1, "q", 2, 5)]
        assert list(map(str, found.problems)) == [f"v: only {adapter.source} has it, in 2 matrices",
                                                  f"k: only {b.source} has it, in 2 matrices"]
    alone = pair(adapter, replace(other, updates=[u for u in other.updates if u.layer == 0]), ["q"]).problems
    assert str(alone[0]) == f"bert.encoder.layer.1.attention.self.query: only {adapter.source} has it"
    assert [x.layer for x, _ in pair(adapter, other, ["q"], [1]).pairs] == [1]
    with pytest.raises(ValueError, match=r"role 'o' of .*/a and .*/b is not one of q, v, k"):
        pair(adapter, other, ["o"])


def of_modules(folder: Path, name: str, modules: list[str]) -> AdapterUpdates:
    """A loralib file with an update of each module."""
    torch.save({f"{module}.lora_{letter}": torch.randn(shape) for module in modules
                for letter, shape in (("A", (2, 8)), ("B", (8, 2)))}, folder / name)
    return read_updates(folder / name)


def test_an_encoders_matrices_are_never_a_decoders(tmp_path: Path):
    """BART's, Whisper's and M2M's names, in which the layers of both have the same roles."""
    decoder = [f"model.decoder.layers.{layer}.self_attn.q_proj" for layer in (0, 1)]
    encoder = [name.replace("decoder", "encoder") for name in decoder]
    both, of_decoder, of_encoder = (of_modules(tmp_path, name, modules) for name, modules in (
        ("both.bin", [*encoder, *decoder]), ("decoder.bin", decoder), ("encoder.bin", encoder)))
    for found in (pair(both, of_decoder), pair(both, of_decoder, ["q_proj"])):
        assert [(x.module, y.module) for x, y in found.pairs] == [(name, name) for name in decoder]
        assert list(map(str, found.problems)) == [
            f"model.encoder.layers.*.self_attn.q_proj: only {both.source} has it, in 2 matrices"]
    assert [x.module for x, _ in pair(of_decoder, both, ["q"]).pairs] == decoder
    with pytest.raises(ValueError, match=r"no matrix in common: model.encoder.layers.0.self_attn.q_proj: only .*/enc"):
        pair(of_encoder, of_decoder)


def test_a_name_that_could_be_either_of_two_is_not_paired(tmp_path: Path):
    both, bare = (of_modules(tmp_path, name, modules) for name, modules in (
        ("both.bin", ["encoder.layers.0.self_attn.q_proj", "decoder.layers.0.self_attn.q_proj"]),
        ("bare.bin", ["layers.0.self_attn.q_proj"])))
    for first, second in ((both, bare), (bare, both)):
        with pytest.raises(ValueError, match="have no matrix in common"):
            pair(first, second)


def test_a_site_of_another_shape_is_a_problem_beside_the_others(adapter: AdapterUpdates):
    wide = replace(adapter.updates[0], B=torch.randn(32, 2))
    found = pair(adapter, replace(adapter, updates=[wide, *adapter.updates[1:]], source="b"))
    assert len(found.pairs) == 3
    assert found.problems[0].message == f"dW is (16, 16) in {adapter.source} and (32, 16) in b"
    with pytest.raises(ValueError, match=r"no matrix in common: bert.*query: dW is \(16, 16\) in .*\(32, 16\)"):
        pair(adapter, replace(adapter, updates=[wide], source="b"), ["q"], [0])


@pytest.mark.parametrize(("first", "second", "message"), [
    ({"name": "bert-tiny"}, {"name": "bert-small"}, "'bert-tiny' in a and 'bert-small' in b (name)"),
    ({"name": "x", "revision": "1"}, {"name": "x", "revision": "2"}, "'1' in a and '2' in b (revision)"),
    ({"name": "x", "fingerprint": "f"}, {"name": "folder/x", "fingerprint": "f"}, None),
    ({"name": "x", "fingerprint": "f"}, {"name": "x", "fingerprint": "g"}, None),
    ({"name": "x"}, {}, None),
])
def test_adapters_of_different_bases_are_told(adapter: AdapterUpdates, first: dict, second: dict, message: str | None):
    found = pair(replace(adapter, source="a", base=first), replace(adapter, source="b", base=second))
    assert [problem.message for problem in found.problems] == ([message] if message else [])
    assert len(found.pairs) == 4
