"""The command for one adapter: singular values of dW, and the authors' adapter as issue 4 describes it."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from analysis import spectrum
from tests.analysis.made import call, factors, layouts, module, write


def analyse(folder: Path, **values: Any) -> dict[str, Any]:
    return call(spectrum.main, "spectrum", folder, **values)


def test_singular_values_are_those_of_dw(tmp_path: Path):
    tensors = factors(rank=3)
    found = analyse(tmp_path / "out", adapter=write(tmp_path / "a.bin", tensors), alpha=6)
    assert {"spectrum.png", "ranks.png", "energy.png"} <= {Path(file).name for file in found["files"]}
    row = pd.read_csv(tmp_path / "out" / "spectrum_sites.csv").iloc[3]
    dW = 2.0 * tensors[f"{module(1, 'value')}.lora_B"] @ tensors[f"{module(1, 'value')}.lora_A"]
    expected = torch.linalg.svdvals(dW)[:3]
    assert [row.s1, row.s2, row.s3] == pytest.approx(expected.tolist(), rel=1e-5)
    assert row.norm == pytest.approx(dW.norm().item())
    assert row.stable_rank == pytest.approx((dW.norm() / expected[0]).square().item(), rel=1e-5)
    assert [row["sites"] for row in found["summary"]] == [3, 3]


def test_the_three_layouts_give_the_same_numbers(tmp_path: Path):
    found = {}
    for layout, adapter in layouts(tmp_path, rank=3).items():
        analyse(tmp_path / layout, adapter=adapter, alpha=6 if layout == "loralib" else None)
        found[layout] = pd.read_csv(tmp_path / layout / "spectrum_sites.csv")
    assert list(found["ours"].columns[-4:]) == ["s1", "s2", "s3", "module"]
    pd.testing.assert_frame_equal(found["peft"], found["ours"])
    pd.testing.assert_frame_equal(found["loralib"], found["ours"])


def test_the_authors_adapter_has_one_nearly_rank_one_update(shared: Path, tmp_path: Path):
    found = analyse(tmp_path, adapter=shared / "adapters" / "roberta_base_lora_mnli.bin", alpha=16)
    sites = pd.read_csv(tmp_path / "spectrum_sites.csv")
    assert len(sites) == 24
    least = sites.loc[sites.stable_rank.idxmin()]
    assert (least.layer, least.role) == (11, "q")
    assert least.stable_rank < 1.01
    assert found["notes"][0].startswith(
        "nearly rank one, over 90% of ‖ΔW‖² in one direction: layer 11 q (99%, stable rank 1.01), "
        "layer 10 q (94%, stable rank 1.06), of 24 updates; the others go from layer 9 q (84%")


def test_without_alpha_the_norm_is_said_to_be_of_b_a(tmp_path: Path):
    found = analyse(tmp_path / "out", adapter=write(tmp_path / "a.bin", rank=1))
    assert found["problems"] == ["alpha: is not known of 6 updates: their norms are those of B A; give alpha=<number>"]


def test_an_adapter_with_nothing_to_study_leaves_nothing(tmp_path: Path):
    tensors = {key: torch.zeros_like(value) for key, value in factors(layers=1).items()}
    with pytest.raises(ValueError, match=r"nothing to study.*is zero: this site is untrained"):
        analyse(tmp_path / "out", adapter=write(tmp_path / "a.bin", tensors))
    assert not (tmp_path / "out").exists()
