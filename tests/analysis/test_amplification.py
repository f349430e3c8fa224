"""The command for table 7: the numbers of the mathematics, and a base that lacks a tensor or is not there."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from analysis import amplification
from analysis.adapters.base_weights import BaseWeights
from analysis.adapters.read import read_updates
from analysis.linalg.amplify import amplification as table_7
from lora.adapter_file import save_adapter
from tests.analysis.made import base, call, factors, layouts, module, write
from tests.lora import adapted_models as tiny


def amplify(folder: Path, **values: Any) -> dict[str, Any]:
    return call(amplification.main, "amplification", folder, **values)


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    return {"adapter": write(tmp_path / "a.bin", rank=4), "base": base(tmp_path / "base.safetensors"), "alpha": 8}


@pytest.mark.parametrize(("full", "how"), [(None, "full SVD"), (True, "full SVD"), (False, "subspace iteration")])
def test_tables_hold_table_7_for_every_site_and_rank(full: bool | None, how: str, given: dict, tmp_path: Path):
    found = amplify(tmp_path / "out", **given, full_svd=full, pictures=full is None)
    names = [f"amplification{suffix}" for suffix in (".csv", ".md", ".pdf", ".png", "_ranks.csv", "_sites.csv")]
    names += [f"directions_of_w{suffix}" for suffix in (".pdf", ".png", "_phi.csv")]
    assert sorted(Path(file).name for file in found["files"]) == names
    assert any(note.startswith(f"W's own directions by {how}: ") for note in found["notes"])
    ranks = pd.read_csv(tmp_path / "out" / "amplification_ranks.csv")
    update = read_updates(given["adapter"], alpha=8).updates[2]
    W = BaseWeights(given["base"]).weight(update)
    expected = table_7(W, update.A, update.B, 2.0)
    rows = ranks[(ranks.layer == 1) & (ranks.role == "q")]
    assert rows.factor.tolist() == pytest.approx(expected.factors.tolist())
    assert rows.through_update.tolist() == pytest.approx(expected.through_update.tolist())
    singular = W.double().svd().S.square().cumsum(0).sqrt()[:4]
    assert rows.through_weight.tolist() == pytest.approx(singular.tolist(), rel=1e-4)
    phi = pd.read_csv(tmp_path / "out" / "directions_of_w_phi.csv").set_index(["layer", "role", "i", "j"]).phi
    V1, V2 = (torch.linalg.svd(each.double()).Vh for each in (W, update.B @ update.A))
    for i, j in ((1, 1), (5, 2), (24, 4)):
        assert phi[1, "q", i, j] == pytest.approx((V1[:i] @ V2[:j].T).square().sum().item() / min(i, j), abs=1e-3)
    sites = pd.read_csv(tmp_path / "out" / "amplification_sites.csv")
    assert sites.factor[2] == pytest.approx(expected.factors[-1].item())
    assert found["summary"][0]["factor"] == pytest.approx(sites[sites.role == "q"].factor.mean())
    by_chance = (2.0 * update.B @ update.A).norm().item() / (4 * W.norm().item() / 24)  # random 4 of 24 directions
    assert sites.factor_random[2] == pytest.approx(by_chance, rel=1e-4)
    assert rows.factor_random.iloc[-1] == pytest.approx(by_chance, rel=1e-4)
    mean = found["summary"][0]["factor_random"]
    assert mean == pytest.approx(sites[sites.role == "q"].factor_random.mean())
    assert any(f"and {mean:.3g} [" in note and "as large as W in random ones" in note for note in found["notes"])


def test_the_three_layouts_give_the_same_numbers(tmp_path: Path):
    weights = base(tmp_path / "base.safetensors", layers=2, d=16)
    found = {}
    for layout, adapter in layouts(tmp_path, rank=3).items():
        amplify(tmp_path / layout, adapter=adapter, base=weights, alpha=6 if layout == "loralib" else None)
        found[layout] = pd.read_csv(tmp_path / layout / "amplification.csv")
    assert list(found["ours"].sites) == [2, 2]
    pd.testing.assert_frame_equal(found["peft"], found["ours"])
    pd.testing.assert_frame_equal(found["loralib"], found["ours"])


def test_a_missing_or_zero_tensor_is_named_and_the_rest_comes_out(given: dict, tmp_path: Path):
    tensors = load_file(given["base"])
    del tensors[f"{module(1, 'query')}.weight"]
    tensors[f"{module(2, 'value')}.weight"].zero_()
    save_file(tensors, given["base"])
    found = amplify(tmp_path / "out", **given)
    assert len(found["problems"]) == 2
    assert f"has no tensor {module(1, 'query')}.weight" in found["problems"][0]
    assert f"tensor {module(2, 'value')}.weight of {given['base']} is zero here" in found["problems"][1]
    assert [row["sites"] for row in found["summary"]] == [2, 2]


def test_a_quantised_tensor_is_named_and_the_rest_comes_out(given: dict, tmp_path: Path):
    tensors = load_file(given["base"])
    name = f"{module(1, 'query')}.weight"
    save_file(tensors | {name: tensors[name].to(torch.float8_e4m3fn)}, given["base"])
    found = amplify(tmp_path / "out", **given)
    [problem] = found["problems"]
    assert f"tensor {name} of {given['base']} is of torch.float8_e4m3fn" in problem
    assert [row["sites"] for row in found["summary"]] == [2, 3]


def test_directions_that_are_zero_are_left_out_and_named(given: dict, tmp_path: Path):
    tensors = factors(rank=4)
    B = tensors[f"{module(0, 'query')}.lora_B"]
    B[:, 1] = B[:, 0]
    write(given["adapter"], tensors)
    found = amplify(tmp_path / "out", **given)
    assert found["problems"] == [f"{module(0, 'query')}: ΔW has 3 directions: the other 1 are zero to rounding, "
                                 "and left out"]
    sites = pd.read_csv(tmp_path / "out" / "amplification_sites.csv")
    assert list(sites["rank"]) == [3, 4, 4, 4, 4, 4]
    W = load_file(given["base"])[f"{module(0, 'query')}.weight"].double()
    assert sites.through_weight[0] == pytest.approx(torch.linalg.svdvals(W)[:3].norm().item())
    U, _, Vh = torch.linalg.svd(B.double() @ tensors[f"{module(0, 'query')}.lora_A"].double())
    assert sites.through_update[0] == pytest.approx((U[:, :3].T @ W @ Vh[:3].T).norm().item(), rel=1e-4)


def test_a_base_without_any_of_the_weights_is_an_error_before_anything_is_written(given: dict, tmp_path: Path):
    base(tmp_path / "narrow.safetensors", d=10)
    with pytest.raises(ValueError, match=r"has no weight for any update.* is \(10, 10\)"):
        amplify(tmp_path / "out", **given | {"base": tmp_path / "narrow.safetensors"})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("values", "message"), [
    ({"alpha": None}, "does not store alpha"), ({"base": None}, "base is not given"),
    ({"base": "minilmm"}, "neither a file.*did you mean 'minilm'"), ({"adapter": None}, "adapter is not given"),
    ({"layers": [3]}, "layer 3 .* is not one of 0, 1, 2")])
def test_what_is_missing_is_asked_for(values: dict, message: str, given: dict, tmp_path: Path):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        amplify(tmp_path / "out", **given | values)
    assert not (tmp_path / "out").exists()


def test_a_model_of_conf_is_found_by_its_name(tmp_path: Path):
    adapter = write(tmp_path / "a.bin", layers=4, d=128)  # roberta-nano's shape
    found = amplify(tmp_path / "out", adapter=adapter, base="roberta-nano", alpha=2)
    assert found["problems"] == []
    assert [row["sites"] for row in found["summary"]] == [4, 4]


def test_the_base_is_the_one_that_the_adapter_names(tmp_path: Path):
    model = tiny.adapted("roberta", tiny.method())
    tiny.model("roberta").save_pretrained(tmp_path / "model")
    adapter = save_adapter(model, tmp_path / "adapter", base={"name": "tiny", "path": str(tmp_path / "model")})
    found = amplify(tmp_path / "out", adapter=adapter)
    assert [row["sites"] for row in found["summary"]] == [2, 2]
    again = amplify(tmp_path / "out", adapter=adapter, base=tmp_path / "model", roles=["q"])
    assert again["summary"][0]["factor"] == pytest.approx(found["summary"][0]["factor"])
    other = base(tmp_path / "other.safetensors", layers=2, d=16)
    assert amplify(tmp_path / "out", adapter=adapter, base=other)["summary"] != found["summary"]
