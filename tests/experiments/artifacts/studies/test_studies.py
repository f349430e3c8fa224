"""Figures 3, 4, 6, 7, 8 and table 7: each on a tiny model, its numbers by another route, and what may be amiss."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

from analysis.figures.similarity import similarity_figure
from experiments.artifacts.studies import base_weights as paper_base
from experiments.store.paths import CONF
from experiments.store.store import Store
from experiments.tables import publish_study
from tests.analysis.made import nowhere
from tests.experiments.artifacts.studies.made import configured, report

STUDIES = [path.stem for path in sorted((CONF / "artifact").glob("*.yaml")) if OmegaConf.load(path).kind == "study"]


@pytest.fixture
def given(tiny_run: list[str]) -> list[str]:
    return [*tiny_run, "trainer.save_checkpoints=false"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that the tests of this file fill once."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def trained(kept: Path, given: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with all four runs; pictures are made and not written, which takes a second each."""
    monkeypatch.setattr(publish_study, "save_figure", nowhere)
    if not list(kept.glob("runs/*.json")):
        report(configured("table7", kept, given))
    return Path(shutil.copytree(kept, tmp_path / "trained"))


def tensors(store: Path, last: dict, rank: int, seed: int) -> dict[str, torch.Tensor]:
    """What the run of a rank and seed trained."""
    for name in last["runs"]:
        folder = store / "adapters" / name
        if f"seed{seed}" in name and json.loads((folder / "adapter.json").read_text())["method"]["rank"] == rank:
            return load_file(folder / "adapter.safetensors")
    raise AssertionError(f"no run of rank {rank} and seed {seed} among {list(last['runs'])}")


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_trains_nothing_twice_and_leaves_its_numbers(name: str, trained: Path, given: list[str]):
    asked: list[str] = []
    last = report(configured(name, trained, given), asked)
    assert (asked, last["missing"], last["failed"], last["problems"]) == ([], [], [], [])
    assert set(last["runs"].values()) == {"there"}
    made = {Path(file).name for file in last["files"]}
    assert (trained / "figures" / last["study"]).with_suffix(".md").is_file()
    assert {f"{last['study']}.png", f"{last['study']}.pdf", f"{last['study']}.csv"} <= made
    assert "local model stands for GPT-3 175B" in last["notes"]


def test_figure_3_is_phi_of_two_ranks_and_two_seeds_in_the_middle_layer(trained: Path, given: list[str]):
    last = report(configured("figure3", trained, given))
    phi = pd.read_csv(trained / "figures" / "figure3_phi.csv")
    assert set(phi.layer) == {0}  # the last of the first half of two
    first, second = (tensors(trained, last, *key) for key in ((2, 0), (9, 1)))
    for role, word in (("q", "query"), ("v", "value")):
        [A1], [A2] = ([value for key, value in each.items() if f"layer.0.attention.self.{word}" in key
                       and key.endswith(".A")] for each in (first, second))
        V1, V2 = (torch.linalg.svd(A.double(), full_matrices=False).Vh for A in (A1, A2))
        rows = phi[phi.role == role].set_index(["i", "j"])
        assert len(rows) == 2 * 9
        for i in range(1, 3):
            for j in range(1, 10):
                expected = (V1[:i] @ V2[:j].T).square().sum().item() / min(i, j)
                assert rows.phi[i, j] == pytest.approx(expected, abs=1e-5)
                assert rows.chance[i, j] == pytest.approx(max(i, j) / 32, abs=1e-5)
    sites = pd.read_csv(trained / "figures" / "figure3_sites.csv")
    assert sorted(set(zip(sites.seed_a, sites.seed_b, strict=True))) == [(0, 1), (1, 0)]
    assert len(sites) == 2 * 2 * 2  # pairs, layers, roles


def test_table_7_is_the_papers_beside_norms_of_matrices_written_out(trained: Path, given: list[str],
                                                                    model_folder: Path):
    last = report(configured("table7", trained, given))
    table = pd.read_csv(trained / "tables" / "table7.csv", dtype={"paper": str})
    found = table.set_index(["rank", "projection", "column"])
    assert found.paper[4, "delta_w", "frobenius_norm_of_projected_w"] == "0.32"
    assert found.paper[64, "w", "frobenius_norm_of_projected_w"] == "37.71"
    assert found.paper[4, "delta_w", "factor"] == "21.59"  # 6.91 / 0.32
    W = query_weight(model_folder)
    projected, factors = [], []
    for seed in (0, 1):
        dW = query_update(trained, last, 2, seed)
        U, _, Vh = torch.linalg.svd(dW)
        projected.append((U[:, :2].T @ W @ Vh[:2].T).norm().item())
        factors.append(dW.norm().item() / projected[-1])
    ours = found.ours[2]
    assert ours["delta_w", "frobenius_norm_of_projected_w"] == pytest.approx(sum(projected) / 2, rel=1e-5)
    assert ours["delta_w", "factor"] == pytest.approx(sum(factors) / 2, rel=1e-5)
    assert ours["w", "frobenius_norm_of_w"] == pytest.approx(W.norm().item(), rel=1e-6)
    own = torch.linalg.svdvals(W)[:2].norm().item()
    assert ours["w", "frobenius_norm_of_projected_w"] == pytest.approx(own, rel=1e-5)
    assert ours["random", "frobenius_norm_of_projected_w"] == pytest.approx(2 * W.norm().item() / 32, rel=1e-6)
    assert set(found.seeds[2]) == {2}
    assert found.ours[64].isna().all()
    assert r"$\Vert$U$^\top$WV$\Vert$" in (trained / "tables" / "table7.tex").read_text()


def test_figure_8_draws_the_window_of_w_beside_a_gaussian(trained: Path, given: list[str],
                                                         monkeypatch: pytest.MonkeyPatch):
    drawn: list[dict] = []

    def draw(rows, caption, i, j):
        drawn.append(rows)
        return similarity_figure(rows, caption, i, j)

    monkeypatch.setattr(paper_base, "similarity_figure", draw)
    report(configured("figure8", trained, given, "artifact.study.window=12"))
    panels = drawn[0]["layer 0, q"]
    assert [(panel.title[-15:], *panel.phi.shape) for panel in panels[2:]] == [("random Gaussian", 12, 9)]
    assert [tuple(panel.phi.shape) for panel in drawn[0]["by chance"]] == [(12, 2), (12, 9), (12, 9)]
    assert (panels[2].phi - drawn[0]["by chance"][2].phi).abs().mean() < 0.1
    assert max(pd.read_csv(trained / "figures" / "figure8_phi.csv").i) == 32


def query_update(store: Path, last: dict, rank: int, seed: int) -> torch.Tensor:
    """dW (n_out, n_in) of the first layer's query, formed from the run's file; alpha is 16."""
    [A], [B] = ([value.double() for key, value in tensors(store, last, rank, seed).items()
                 if "layer.0.attention.self.query" in key and key.endswith(end)] for end in (".A", ".B"))
    return 16 / rank * B @ A


def query_weight(folder: Path) -> torch.Tensor:
    """W0 (n_out, n_in) of the first layer's query."""
    return load_file(folder / "model.safetensors")["encoder.layer.0.attention.self.query.weight"].double()


def test_figure_8_is_phi_of_w_and_dw_written_out(trained: Path, given: list[str], model_folder: Path):
    last = report(configured("figure8", trained, given))
    phi = pd.read_csv(trained / "figures" / "figure8_phi.csv")
    V1 = torch.linalg.svd(query_weight(model_folder)).Vh                        # (32, n_in)
    V2 = torch.linalg.svd(query_update(trained, last, 2, 0)).Vh[:2]             # (2, n_in)
    rows = phi[phi["rank"] == 2].set_index(["i", "j"])
    for i in range(1, 9):
        for j in (1, 2):
            expected = (V1[:i] @ V2[:j].T).square().sum().item() / min(i, j)
            assert rows.phi[i, j] == pytest.approx(expected, abs=2e-5)
    sites = pd.read_csv(trained / "figures" / "figure8_sites.csv").set_index(["layer", "rank", "seed"])
    assert sites.own[0, 2, 0] == pytest.approx((V1[:2] @ V2.T).square().sum().item() / 2, abs=1e-5)
    assert set(phi[phi.i == 32].phi) == {1.0}  # W's 32 directions are the whole space
    assert phi.groupby("rank").j.max().to_dict() == {2: 2, 9: 9}


@pytest.mark.parametrize(("name", "summary", "sites", "mean", "ends"), [
    ("figure3", "figure3", "figure3_sites", "phi_p_p", ("low_p", "high_p")),
    ("figure8", "figure8", "figure8_sites", "own", ("low", "high")),
    ("table7", "table7_summary", "table7_layers", "factor", ("low", "high"))])
def test_intervals_are_over_layers_however_many_runs_each_has(name: str, summary: str, sites: str, mean: str,
                                                              ends: tuple[str, str], trained: Path, given: list[str]):
    report(configured(name, trained, given))
    found, each = (pd.read_csv(trained / "figures" / f"{file}.csv") for file in (summary, sites))
    row = found.iloc[0]
    rank = "rank" if "rank" in each else "rank_b"
    layers = each[(each.role == row.role) & (each[rank] == row[rank])].groupby("layer")[mean].mean()
    assert (len(layers), row.sites) == (2, 4)
    assert row[mean] == pytest.approx(layers.mean())
    assert [row[end] for end in ends] == pytest.approx([layers.min(), layers.max()])  # of two: one of them twice


def test_a_run_without_its_adapter_is_trained_again_and_only_that_one(trained: Path, given: list[str]):
    cfg = configured("figure4", trained, given, "train=false")
    [first, second] = report(cfg)["runs"]
    shutil.rmtree(trained / "adapters" / first)
    last = report(cfg)
    assert last["runs"] == {first: "trained, its adapter is not here", second: "there"}
    assert (last["missing"], last["files"]) == ([first], [])
    asked: list[str] = []
    cfg.train, cfg.seeds = True, [1]
    assert report(cfg, asked)["missing"] == [first]  # seed 0 is not to be trained
    cfg.seeds = None
    last = report(cfg, asked)
    assert asked == [f"{first} again"]
    assert (last["missing"], len(last["files"]) > 0) == ([], True)


def test_what_failed_or_collapsed_is_named_and_the_rest_comes_out(trained: Path, given: list[str]):
    cfg, store = configured("figure3", trained, given, "train=false"), Store(trained)
    names = list(report(cfg)["runs"])  # of the first pair, then of the second
    store.write(replace(store.read(names[0]), status="collapsed"))
    last = report(cfg)
    assert last["collapsed"] == [names[0]]
    assert any(problem.startswith(f"{names[0]}: is left out: collapsed") for problem in last["problems"])
    assert any("r = 2, seed 0 and r = 9, seed 1: not compared" in problem for problem in last["problems"])
    sites = pd.read_csv(trained / "figures" / "figure3_sites.csv")
    assert set(zip(sites.seed_a, sites.seed_b, strict=True)) == {(1, 0)}
    assert "collapsed" in (trained / "figures" / "figure3.md").read_text()
    store.write(replace(store.read(names[3]), status="failed", error={"message": "out of memory"}))
    (trained / "runs" / f"{names[1]}.json").write_text("{")
    last = report(cfg)
    assert last["failed"] == [names[1], names[3]]
    assert last["runs"][names[3]] == "failed: out of memory"
    assert last["files"] == []


def test_wandb_gets_tables_and_pictures(trained: Path, given: list[str], monkeypatch: pytest.MonkeyPatch):
    logged: list[str] = []

    class Recorder:
        def __init__(self, *arguments, **options): ...
        def __enter__(self): return self
        def __exit__(self, *error): ...
        def log_table(self, name, table): logged.append(name)
        def log_picture(self, name, file): logged.append(file.name)
        def log_summary(self, record): logged.append(record["study"])

    monkeypatch.setattr(publish_study, "Logger", Recorder)
    report(configured("table7", trained, given))
    assert logged == ["table7_summary", "table7_layers", "table7", "table7_layers.png", "table7_layers"]


def test_a_layer_that_the_model_lacks_is_named(trained: Path, given: list[str]):
    with pytest.raises(ValueError, match="layer 7 is not one of 0, 1"):
        report(configured("figure3", trained, given, "artifact.study.layers=[7]"))
