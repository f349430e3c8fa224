"""The page and the commands print the same numbers of the same adapter, base and other adapter."""

import inspect
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from analysis import amplification, report, spectrum, subspace
from tests.analysis.made import base, call, module, write
from tests.analysis.page.made import Page
from tests.experiments.made import compose


def page_of(tmp_path: Path, *settings: str) -> tuple[dict[str, Any], Page]:
    cfg = compose(f"output={tmp_path / 'report.html'}", "logger.wandb.mode=disabled", *settings, config="report")
    record = inspect.unwrap(report.main)(cfg)
    return record, Page(Path(record["page"]))


def column(page: Page, name: str) -> list[float]:
    return [float(row[name]) for row in page.table.values()]


@pytest.mark.parametrize("rank", [1, 4])
def test_spectrum_ranks_and_nearly_rank_one_are_those_of_the_command(rank: int, tmp_path: Path):
    adapter = write(tmp_path / "a.bin", rank=rank)
    record = call(spectrum.main, "spectrum", tmp_path / "out", adapter=adapter, alpha=4)
    sites = pd.read_csv(tmp_path / "out" / "spectrum_sites.csv")
    _, page = page_of(tmp_path, f"adapter={adapter}", "alpha=4")
    for key, name in (("rank", "rank"), ("norm", "‖ΔW‖"), ("effective_rank", "effective rank"),
                      ("stable_rank", "stable rank"), ("first", "first direction's share")):
        assert column(page, name) == pytest.approx(sites[key].tolist(), rel=1e-12)
    values = sites[[f"s{k}" for k in range(1, rank + 1)]].to_numpy()
    for row, singular in zip(page.table.values(), values, strict=True):
        assert [float(value) for value in row["singular values"].split()] == pytest.approx(singular, rel=1e-12)
    nearly = [line for line in page.lists["reading"] if "nearly rank one" in line]
    if rank == 1:
        assert record["notes"][0].startswith("nearly rank one, over 90% of ‖ΔW‖² in one direction: layer 0 q (100%, ")
        assert nearly[0].startswith("6 of 6 updates are nearly rank one, with over 90 % of their energy in one")
    else:
        assert ": none, of 6 updates" in record["notes"][0]
        assert nearly[0].startswith("No update is nearly rank one")


@pytest.mark.parametrize(("rank", "d"), [(1, 24), (4, 24), (4, 768)])
def test_amplification_is_that_of_the_command_in_every_direction(rank: int, d: int, tmp_path: Path):
    adapter = write(tmp_path / "a.bin", rank=rank, d=d, layers=1)
    weights = base(tmp_path / "base.safetensors", layers=1, d=d)
    call(amplification.main, "amplification", tmp_path / "out", adapter=adapter, base=weights, alpha=4)
    sites = pd.read_csv(tmp_path / "out" / "amplification_sites.csv")
    _, page = page_of(tmp_path, f"adapter={adapter}", "alpha=4", f"base={weights}")
    for key, name in (("weight_norm", "‖W‖"), ("through_update", "‖UᵀWV‖ of ΔW"), ("factor", "factor"),
                      ("through_random", "‖UᵀWV‖ of random"), ("through_weight", "‖UᵀWV‖ of W")):
        assert column(page, name) == pytest.approx(sites[key].tolist(), rel=1e-12)
    W = load_file(weights)[f"{module(0, 'query')}.weight"].double()
    assert column(page, "‖UᵀWV‖ of W")[0] == pytest.approx(torch.linalg.svdvals(W)[:rank].norm().item(), rel=1e-5)


@pytest.mark.parametrize("rank", [1, 4])
def test_phi_and_shared_directions_are_those_of_the_command(rank: int, tmp_path: Path):
    a, b = (write(tmp_path / f"{seed}.bin", rank=rank, seed=seed) for seed in (1, 2))
    record, page = page_of(tmp_path, f"adapter={a}", f"other={b}")
    for side in "AB":
        compared = call(subspace.main, "subspace", tmp_path / side, a=a, b=b, which=side, samples=1000)
        sites = pd.read_csv(tmp_path / side / "subspace_sites.csv")
        assert column(page, f"φ(p, p) of {side}") == pytest.approx(sites.phi_p_p.tolist(), rel=1e-12)
        shared = {f"{row['role']} {side}": row["shared"] for row in compared["summary"]}
        assert shared.items() <= record["shared_directions"].items()


def test_a_base_in_lower_precision_gives_both_the_same_numbers(tmp_path: Path):
    adapter, weights = write(tmp_path / "a.bin"), base(tmp_path / "base.safetensors")
    save_file({name: tensor.bfloat16() for name, tensor in load_file(weights).items()}, weights)
    call(amplification.main, "amplification", tmp_path / "out", adapter=adapter, base=weights, alpha=4)
    _, page = page_of(tmp_path, f"adapter={adapter}", "alpha=4", f"base={weights}")
    sites = pd.read_csv(tmp_path / "out" / "amplification_sites.csv")
    assert column(page, "factor") == pytest.approx(sites.factor.tolist(), rel=1e-12)
