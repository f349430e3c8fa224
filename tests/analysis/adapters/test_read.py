"""Adapters read without a model: PEFT's and loralib's own layers as judges, and every input that cannot be studied."""

import json
from collections.abc import Callable
from pathlib import Path

import loralib
import peft
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.testing import assert_close

from analysis.adapters.read import read_updates, select
from lora.adapter_file import save_adapter
from lora.layer import adapted_layers
from lora.loralib import load_loralib
from lora.low_rank import Part
from lora.methods import Combined
from lora.peft import save_peft
from tests.analysis.made import by_peft, dW, ours, spoil
from tests.lora import adapted_models as tiny


def by_loralib(kind: str, file: Path, enabled: list[bool] | None = None) -> dict[str, Tensor]:
    """A state dict that loralib's layers wrote, and loralib's own dW (n_out, n_in) of each module, scaled."""
    model, deltas = tiny.model(kind), {}
    for name, _ in list(model.named_modules()):
        if name.endswith(("self.query", "self.value")):
            layer = loralib.Linear(16, 16, r=2, lora_alpha=6)
        elif name.endswith("c_attn"):
            layer = loralib.MergedLinear(16, 48, r=2, lora_alpha=6, enable_lora=enabled, fan_in_fan_out=True)
        else:
            continue
        tiny.disturb([layer.lora_A, layer.lora_B])
        delta = layer.merge_AB().T if name.endswith("c_attn") else layer.lora_B @ layer.lora_A
        deltas[name] = layer.scaling * delta.detach()
        model.set_submodule(name, layer)
    head = {name: p for name, p in model.state_dict().items() if name.startswith(("classifier", "score"))}
    torch.save(loralib.lora_state_dict(model) | head, file)
    return deltas


PATTERNS = {"rank_pattern": {"query": 4}, "alpha_pattern": {"value": 5}}


@pytest.mark.parametrize("options", [{}, {"use_rslora": True}, PATTERNS, PATTERNS | {"use_rslora": True}])
def test_dw_of_a_peft_folder_is_pefts(options: dict, tmp_path: Path):
    deltas = by_peft("roberta", tmp_path, ["query", "value"], **options)
    updates = read_updates(tmp_path).updates
    assert [(u.layer, u.role) for u in updates] == [(0, "q"), (0, "v"), (1, "q"), (1, "v")]
    for update in updates:
        assert_close(dW(update), deltas[update.module])


def test_dw_of_a_fused_projection_that_peft_adapted_is_told_by_its_parts(tmp_path: Path):
    deltas = by_peft("gpt2-lm", tmp_path, ["c_attn"])
    updates = read_updates(tmp_path).updates
    assert [(u.layer, u.role) for u in updates] == [(layer, role) for layer in (0, 1) for role in "qkv"]
    for update in updates:
        assert_close(dW(update), deltas[update.module].chunk(3)["qkv".index(update.role)])


def test_a_c_attn_that_is_not_three_square_matrices_stays_whole(tmp_path: Path):
    A, B = torch.randn(2, 16), torch.randn(16 + 2 * 4, 2)  # one key and value for all heads, as in GPTBigCode
    torch.save({"transformer.h.0.attn.c_attn.lora_A": A, "transformer.h.0.attn.c_attn.lora_B": B}, tmp_path / "a.bin")
    [update] = read_updates(tmp_path / "a.bin").updates
    assert (update.layer, update.role, update.part) == (0, "transformer.h.*.attn.c_attn", Part())
    assert torch.equal(update.B, B)


@pytest.mark.parametrize(("kind", "enabled", "roles"), [
    ("bert", None, "qv"), ("gpt2", [True, False, True], "qv"), ("gpt2", [True] * 3, "qkv"),
    ("gpt2", [False, True, True], "kv"), ("gpt2", [False, False, True], "v")])
def test_dw_of_a_loralib_file_is_loralibs(kind: str, enabled: list[bool] | None, roles: str, tmp_path: Path):
    deltas = by_loralib(kind, tmp_path / "a.bin", enabled)
    fused = list(roles) if roles in ("kv", "v") else None
    updates = read_updates(tmp_path / "a.bin", alpha=6, fused=fused).updates
    assert [(u.layer, u.role) for u in updates] == [(layer, role) for layer in (0, 1) for role in roles]
    for update in updates:
        full = deltas[update.module]
        assert_close(dW(update), full if kind == "bert" else full.chunk(3)["qkv".index(update.role)])
        assert update.part == (Part() if kind == "bert" else Part(parts=3, index="qkv".index(update.role)))


@pytest.mark.parametrize("kind", ["bert", "roberta", "deberta", "deberta-v2", "gpt2"])
def test_dw_of_our_folder_is_the_models(kind: str, tmp_path: Path):
    model = tiny.adapted(kind, tiny.method(rank={"q": 1, "v": 3}, alpha={"q": 2.0, "v": 5.0}, rank_stabilised=True))
    adapter = read_updates(save_adapter(model, tmp_path, base={"name": "tiny", "revision": None}))
    layers = dict(adapted_layers(model))
    assert [(u.layer, u.role) for u in adapter.updates] == [(0, "q"), (0, "v"), (1, "q"), (1, "v")]
    assert adapter.base["name"] == "tiny"
    for update in adapter.updates:
        assert_close(dW(update), layers[update.module].of("default")[update.role].delta())


@pytest.mark.parametrize("kind", ["roberta", "gpt2"])
def test_the_three_layouts_of_the_same_matrices_read_alike(kind: str, tmp_path: Path):
    by_loralib(kind, tmp_path / "a.bin", [True, False, True])
    load_loralib(model := tiny.model(kind), tmp_path / "a.bin", 6)
    folders = [save_adapter(model, tmp_path / "ours", base={}), save_peft(model, tmp_path / "peft")]
    wanted = read_updates(tmp_path / "a.bin", alpha=6).updates
    for folder in folders:
        got = read_updates(folder).updates
        assert [u.site for u in got] == [u.site for u in wanted]
        for update, other in zip(got, wanted, strict=True):
            assert torch.equal(update.A, other.A)
            assert torch.equal(update.B, other.B)
            assert (update.scaling, update.part, update.module) == (other.scaling, other.part, other.module)


def test_the_authors_checkpoint_is_read_whole(shared: Path):
    file = shared / "adapters" / "roberta_base_lora_mnli.bin"
    adapter = read_updates(file)
    assert [(u.layer, u.role) for u in adapter.updates] == [(layer, role) for layer in range(12) for role in "qv"]
    assert {(u.rank, *u.A.shape, *u.B.shape, u.scaling) for u in adapter.updates} == {(8, 8, 768, 768, 8, None)}
    assert adapter.problems == []
    assert {u.scaling for u in read_updates(file, alpha=16).updates} == {2.0}


def test_modules_of_unknown_architectures_go_by_their_own_names(tmp_path: Path):
    A, B = torch.randn(2, 8), torch.randn(8, 2)
    names = ["model.encoder.layers.0.self_attn.q_proj", "model.decoder.layers.0.self_attn.q_proj",
             "distilbert.transformer.layer.3.attention.q_lin", "lm_head", "model.encoder.layers.0.mlp.gate_proj",
             "model.encoder.layers.0.mlp.up_proj"]
    torch.save({f"{name}.lora_{letter}": t for name in names for letter, t in (("A", A), ("B", B))}, tmp_path / "a.bin")
    adapter = read_updates(tmp_path / "a.bin")
    assert [u.site for u in adapter.updates] == [
        (0, "fc1", "gate_proj"), (0, "fc1", "up_proj"), (0, "model.decoder.layers.*.self_attn.q_proj", "q_proj"),
        (0, "model.encoder.layers.*.self_attn.q_proj", "q_proj"),
        (3, "distilbert.transformer.layer.*.attention.q_lin", "q_lin"), (None, "lm_head", "lm_head")]
    assert [u.layer for u in select(adapter, ["q_lin"])] == [3]
    assert len(select(adapter, ["fc1"])) == 2


def test_a_glob_among_our_targets_gets_its_role_from_the_module(tmp_path: Path):
    adapter = read_updates(ours("bert", tmp_path, targets=["*.attention.self.query"]))
    assert [u.role for u in adapter.updates] == ["q", "q"]


Q0 = "base_model.model.bert.encoder.layer.0.attention.self.query.lora_"


@pytest.mark.parametrize(("change", "message"), [
    (lambda t: t[f"{Q0}A.weight"][0, 3].fill_(torch.nan), "query.lora_A.weight holds NaN or infinite values"),
    (lambda t: t[f"{Q0}B.weight"][0, 1].fill_(torch.inf), "query.lora_B.weight holds NaN or infinite values"),
    (lambda t: (t[f"{Q0}B.weight"][:, 0].zero_(), t[f"{Q0}A.weight"][1].zero_()), "product of zero"),
    (lambda t: t[f"{Q0}B.weight"].zero_(), "query.lora_B.weight is zero: this site is untrained"),
    (lambda t: t.pop(f"{Q0}A.weight"), "query.lora_B.weight is there without .*query.lora_A.weight"),
    (lambda t: t.pop(f"{Q0}B.weight"), "query.lora_A.weight is there without .*query.lora_B.weight"),
    (lambda t: t.update({f"{Q0}B.weight": torch.ones(16, 3)}), r"lora_A.weight \(2, 16\) and .* no common rank"),
    (lambda t: t.update({f"{Q0}B.weight": torch.ones(16, 1)}), r"A.weight \(2, 16\) and .*B.weight \(16, 1\) have no"),
    (lambda t: t.update({f"{Q0}A.weight": torch.ones(2, 4, 3, 3)}), r"lora_A.weight is \(2, 4, 3, 3\), no matrix"),
    (lambda t: t.update({f"{Q0}A.weight": torch.ones(2, 16).int()}), "query.lora_A.weight is of torch.int32, whose"),
    (lambda t: t.update({f"{Q0}A.weight": t[f"{Q0}A.weight"].to(torch.float8_e4m3fn)}),
     "query.lora_A.weight is of torch.float8_e4m3fn, whose numbers are not the values alone"),
    (lambda t: t.update({f"{Q0}A.weight": torch.ones(3, 16), f"{Q0}B.weight": torch.ones(16, 3)}),
     f"tensor {Q0}A.weight has rank 3, adapter_config.json says 2"),
])
def test_a_site_that_cannot_be_studied_is_named_and_the_others_come_out(
        change: Callable, message: str, tmp_path: Path):
    adapter = read_updates(spoil(change, tmp_path))
    assert [(u.layer, u.role) for u in adapter.updates] == [(0, "v"), (1, "q"), (1, "v")]
    [problem] = adapter.problems
    assert problem.site == "bert.encoder.layer.0.attention.self.query"
    with pytest.raises(ValueError, match=message):
        raise ValueError(str(problem))


def test_an_untrained_part_of_merged_layers_is_left_out(tmp_path: Path):
    by_loralib("gpt2", tmp_path / "a.bin", [True, False, True])
    state = torch.load(tmp_path / "a.bin", weights_only=True)
    state["transformer.h.0.attn.c_attn.lora_B"][:16].zero_()
    torch.save(state, tmp_path / "a.bin")
    assert [(u.layer, u.role) for u in read_updates(tmp_path / "a.bin").updates] == [(0, "v"), (1, "q"), (1, "v")]


def test_an_untrained_adapter_has_nothing_to_study(tmp_path: Path):
    peft.get_peft_model(tiny.model("bert"), peft.LoraConfig(target_modules=["query"])).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"nothing to study: bert.*query.lora_B.weight is zero: this site is untrain"):
        read_updates(tmp_path)


def test_a_method_without_low_rank_updates_has_nothing_to_study(tmp_path: Path):
    save_adapter(tiny.adapted("bert", tiny.method("bitfit")), tmp_path, base={})
    with pytest.raises(ValueError, match="no low-rank updates: its method is bitfit"):
        read_updates(tmp_path)


def test_a_peft_adapter_that_is_more_than_b_times_a_is_refused(tmp_path: Path):
    by_peft("bert", tmp_path, ["query"], use_dora=True)
    with pytest.raises(ValueError, match="is a DoRA adapter: its dW rescales the rows of W0"):
        read_updates(tmp_path)


@pytest.mark.parametrize(("fields", "message"), [
    ({"dora": True}, "is a DoRA adapter: its dW rescales the rows of W0"),
    ({"init": "pissa"}, r"is a PiSSA adapter: its dW = scaling \* \(B A - B0 A0\)")])
def test_our_adapters_that_are_more_than_b_times_a_are_refused_alone_and_combined(
        fields: dict, message: str, tmp_path: Path):
    made = tiny.method(**fields)
    combined = Combined(name="lora+bitfit", parts={"lora": made, "bitfit": tiny.method("bitfit")})
    for name, method in (("alone", made), ("combined", combined)):
        save_adapter(tiny.adapted("bert", method), tmp_path / name, base={})
        with pytest.raises(ValueError, match=rf"{name} {message}"):
            read_updates(tmp_path / name)


def test_the_factors_of_a_dora_adapter_are_read_where_dw_is_not_asked_for(tmp_path: Path):
    save_adapter(model := tiny.adapted("bert", tiny.method(dora=True)), tmp_path / "ours", base={})
    trained = dict(adapted_layers(model))
    for update in read_updates(tmp_path / "ours", factors=True).updates:
        live = trained[update.module].of("default")[update.role]
        assert torch.equal(update.A, live.A)
        assert torch.equal(update.B, live.B)
    by_peft("bert", tmp_path / "peft", ["query"], use_dora=True)
    stored = load_file(tmp_path / "peft" / "adapter_model.safetensors")
    updates = read_updates(tmp_path / "peft", factors=True).updates
    assert torch.equal(updates[0].A, stored[f"{Q0}A.weight"])
    by_peft("bert", tmp_path / "pissa", ["query"], init_lora_weights="pissa")
    with pytest.raises(ValueError, match="is a PiSSA adapter"):
        read_updates(tmp_path / "pissa", factors=True)


@pytest.mark.parametrize("options", [{"lora_bias": True}, {"trainable_token_indices": [1, 2]},
                                     {"init_lora_weights": "eva", "eva_config": peft.EvaConfig()}],
                         ids=["lora_bias", "tokens", "eva"])
def test_options_of_peft_that_leave_dw_alone_are_no_obstacle(options: dict, tmp_path: Path):
    deltas = by_peft("bert", tmp_path, ["query"], **options)
    updates = read_updates(tmp_path).updates
    assert len(updates) == 2
    for update in updates:
        assert_close(dW(update), deltas[update.module])


def test_a_pissa_adapter_by_peft_is_refused(tmp_path: Path):
    by_peft("bert", tmp_path, ["query"], init_lora_weights="pissa")
    with pytest.raises(ValueError, match=r"is a PiSSA adapter: its dW = scaling \* \(B A - B0 A0\)"):
        read_updates(tmp_path)


def test_lora_among_combined_methods_is_studied_like_lora_alone(tmp_path: Path):
    made = tiny.method()
    model = tiny.adapted("bert", Combined(name="lora+bitfit", parts={"lora": made, "bitfit": tiny.method("bitfit")}))
    deltas = {f"{module}.{role}": update.delta() for module, layer in adapted_layers(model)
              for role, update in layer.of("default").items()}
    updates = read_updates(save_adapter(model, tmp_path, base={})).updates
    assert len(updates) == len(deltas) == 4
    for update in updates:
        assert_close(dW(update), deltas[f"{update.module}.{update.role}"].detach())


def test_task_types_do_not_matter_to_a_study(tmp_path: Path):
    by_peft("bert", tmp_path, ["query"])
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"task_type": "TOKEN_CLS"}))
    assert len(read_updates(tmp_path).updates) == 2


@pytest.mark.parametrize("key", ["r", "lora_alpha"])
def test_a_peft_configuration_without_a_size_names_file_and_key(key: str, tmp_path: Path):
    by_peft("bert", tmp_path, ["query"])
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps({k: value for k, value in json.loads(file.read_text()).items() if k != key}))
    with pytest.raises(ValueError, match=rf"adapter_config.json: {key} is None, not a number"):
        read_updates(tmp_path)


def test_merged_parts_without_their_roles_are_a_problem_of_the_site(tmp_path: Path):
    by_loralib("gpt2", tmp_path / "a.bin", [True, False, True])
    with pytest.raises(ValueError, match=r"c_attn has lora_A \(4, 16\) .* while `fused` names 1 \(v\)"):
        read_updates(tmp_path / "a.bin", fused=["v"])


def test_fused_roles_are_those_of_merged_layers_alone(tmp_path: Path):
    by_loralib("gpt2", tmp_path / "a.bin", [False, True, True])
    state = torch.load(tmp_path / "a.bin", weights_only=True)
    name = "transformer.h.0.attn.c_proj.lora_"
    A, B = torch.randn(2, 16), torch.randn(16, 2)                          # of a loralib.Linear
    torch.save(state | {f"{name}A": A, f"{name}B": B}, tmp_path / "a.bin")
    adapter = read_updates(tmp_path / "a.bin", fused=["k", "v"])
    assert adapter.problems == []
    assert [(u.layer, u.role) for u in adapter.updates] == [(0, "k"), (0, "v"), (0, "o"), (1, "k"), (1, "v")]
    assert torch.equal(adapter.updates[2].A, A)
    assert torch.equal(adapter.updates[2].B, B)


def test_a_folder_that_is_no_adapter_and_a_file_that_is_none_are_refused(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"is not an adapter folder: it has no adapter.json"):
        read_updates(tmp_path)
    torch.save({"weight": torch.ones(2, 2)}, tmp_path / "a.bin")
    with pytest.raises(ValueError, match=r"a.bin has nothing to study: no lora_A and lora_B"):
        read_updates(tmp_path / "a.bin")
    (tmp_path / "b.bin").write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match=r"b.bin is truncated or not a checkpoint"):
        read_updates(tmp_path / "b.bin")


def test_rank_one_is_studied_like_any_other(tmp_path: Path):
    assert {u.rank for u in read_updates(ours("roberta", tmp_path, rank=1)).updates} == {1}


def test_half_precision_is_read_wide(tmp_path: Path):
    def halve(tensors: dict[str, Tensor]) -> None:
        tensors.update({key: tensor.bfloat16() for key, tensor in tensors.items()})

    assert {u.A.dtype for u in read_updates(spoil(halve, tmp_path)).updates} == {torch.float32}
