"""A report shows the numbers it was given, needs no network, and says what could not be studied; Chromium runs it."""

import inspect
import json
import re
import shutil
import statistics
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from analysis import report
from analysis.page.page import steps
from experiments.store.store import RunRecord, Store
from lora.adapter_file import save_adapter
from tests.analysis.made import layouts
from tests.analysis.page.made import Page
from tests.experiments.made import compose
from tests.lora import adapted_models as tiny

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--enable-logging=stderr")
A0 = "roberta.encoder.layer.0.attention.self.query"


def adapters(folder: Path, rank: int = 4, seed: int = 0) -> Path:
    """A tiny RoBERTa's adapter with two layers of q and v."""
    torch.manual_seed(seed)
    model = tiny.model("roberta")
    torch.manual_seed(seed)
    tiny.add(model, tiny.method(rank=rank))
    return save_adapter(model, folder, base={"name": "tiny"})


def base(folder: Path) -> Path:
    tiny.model("roberta").save_pretrained(folder)
    return folder


def report_on(tmp_path: Path, *settings: str) -> tuple[Mapping[str, Any], Page]:
    cfg = compose(f"output={tmp_path / 'report.html'}", "logger.wandb.mode=disabled", *settings, config="report")
    record = inspect.unwrap(report.main)(cfg)
    return record, Page(Path(record["page"]))


def dense(folder: Path, layer: int, role: str) -> Tensor:
    """dW (n_out, n_in) of our folder, formed from its file."""
    tensors = load_file(folder / "adapter.safetensors")
    word = {"q": "query", "v": "value"}[role]
    key = f"roberta.encoder.layer.{layer}.attention.self.{word}.{role}"
    A, B = tensors[f"{key}.A"].double(), tensors[f"{key}.B"].double()
    return 6 / len(A) * B @ A


def numbers(cell: str) -> list[float]:
    return [float(word) for word in cell.split()]


def test_the_table_has_the_numbers_of_the_dense_update(tmp_path: Path):
    folder = adapters(tmp_path / "a")
    record, page = report_on(tmp_path, f"adapter={folder}")
    assert list(page.table) == ["layer 0 q", "layer 0 v", "layer 1 q", "layer 1 v"]
    for layer in (0, 1):
        for role in "qv":
            S = torch.linalg.svd(dense(folder, layer, role)).S[:4]
            share = S / S.sum()
            row = page.table[f"layer {layer} {role}"]
            expected = {"rank": 4.0, "‖ΔW‖": S.square().sum().sqrt(),
                        "effective rank": torch.exp(-(share * share.log()).sum()),
                        "stable rank": S.square().sum() / S[0] ** 2,
                        "first direction's share": S[0] ** 2 / S.square().sum()}
            assert {key: float(row[key]) for key in expected} == pytest.approx(
                {key: float(value) for key, value in expected.items()}, rel=1e-5)
            assert numbers(row["singular values"]) == pytest.approx(S.tolist(), rel=1e-5)
            assert f"layer {layer} {role}: σ1 = {S[0]:.2f}" in page.tips
    assert page.facts["parameters"] == "512"       # four matrices of 4 (16 + 16)
    assert record["parameters"] == 512
    assert (page.facts["rank"], page.facts["alpha"], page.facts["scaling"]) == ("4", "6", "1.5")
    assert record["largest_norm"]["value"] == pytest.approx(
        max(dense(folder, layer, role).norm().item() for layer in (0, 1) for role in "qv"), rel=1e-5)
    assert "problems" not in page.lists
    assert record["problems"] == []


def test_amplification_is_that_of_the_dense_matrices(tmp_path: Path):
    folder, weights = adapters(tmp_path / "a"), base(tmp_path / "base")
    _, page = report_on(tmp_path, f"adapter={folder}", f"base={weights}")
    dW = dense(folder, 1, "v")
    W = load_file(weights / "model.safetensors")["roberta.encoder.layer.1.attention.self.value.weight"].double()
    U, _, Vh = torch.linalg.svd(dW)
    through = (U[:, :4].T @ W @ Vh[:4].T).norm()
    own = torch.linalg.svd(W).S[:4].norm()
    row = page.table["layer 1 v"]
    assert float(row["‖W‖"]) == pytest.approx(W.norm().item(), rel=1e-5)
    assert float(row["‖UᵀWV‖ of ΔW"]) == pytest.approx(through.item(), rel=1e-4)
    assert float(row["‖UᵀWV‖ of random"]) == pytest.approx(4 * W.norm().item() / 16, rel=1e-5)
    assert float(row["‖UᵀWV‖ of W"]) == pytest.approx(own.item(), rel=1e-3)
    assert float(row["factor"]) == pytest.approx((dW.norm() / through).item(), rel=1e-4)
    assert page.facts["base weights"] == str(weights)
    by_chance = [float(row["‖ΔW‖"]) / float(row["‖UᵀWV‖ of random"]) for row in page.table.values()]
    words = f"in random directions an update as large would amplify {statistics.median(by_chance):.1f} times"
    assert any(words in line for line in page.lists["reading"])


def test_similarity_is_that_of_the_spans(tmp_path: Path):
    first, second = adapters(tmp_path / "a"), adapters(tmp_path / "b", rank=2, seed=5)
    record, page = report_on(tmp_path, f"adapter={first}", f"other={second}")
    V1, V2 = (torch.linalg.svd(load_file(folder / "adapter.safetensors")[f"{A0}.q.A"].double()).Vh[:2].T
              for folder in (first, second))
    expected = (V1.T @ V2).square().sum() / 2
    assert float(page.table["layer 0 q"]["φ(p, p) of A"]) == pytest.approx(expected.item(), rel=1e-4)
    assert any(tip.startswith("layer 0 q: φ(4, 2)") and "by chance 0.25" in tip for tip in page.tips)
    assert set(record["shared_directions"]) == {"q A", "q B", "v A", "v B"}


def test_directions_that_are_zero_are_left_out_of_every_number(tmp_path: Path):
    weights, folders, bases = base(tmp_path / "base"), [], []
    for seed in (0, 1):
        draw = torch.Generator().manual_seed(seed)
        A, B = torch.randn(3, 16, generator=draw), torch.randn(16, 3, generator=draw)
        B[:, 1] = B[:, 0]
        torch.save({f"{A0}.lora_A": A, f"{A0}.lora_B": B}, tmp_path / f"{seed}.bin")
        folders.append(tmp_path / f"{seed}.bin")
        bases.append((torch.linalg.svd(B.double()).U[:, :2], torch.linalg.svd(B.double() @ A.double())))
    _, page = report_on(tmp_path, f"adapter={folders[0]}", "alpha=3", f"base={weights}", f"other={folders[1]}")
    row, svd = page.table["layer 0 q"], bases[0][1]
    expected = (bases[0][0].T @ bases[1][0]).square().sum().item() / 2
    assert float(row["φ(p, p) of B"]) == pytest.approx(expected, rel=1e-4)
    W = load_file(weights / "model.safetensors")[f"{A0}.weight"].double()
    assert float(row["‖UᵀWV‖ of ΔW"]) == pytest.approx((svd.U[:, :2].T @ W @ svd.Vh[:2].T).norm().item(), rel=1e-4)
    assert float(row["‖UᵀWV‖ of random"]) == pytest.approx(2 * W.norm().item() / 16, rel=1e-4)
    for words in ("ΔW has 2 directions", "query: a's B has 2 directions", "query: b's B has 2 directions"):
        assert sum(words in line for line in page.lists["problems"]) == 1


def test_an_adapter_shares_all_directions_with_itself(tmp_path: Path):
    folder = adapters(tmp_path / "a")
    record, page = report_on(tmp_path, f"adapter={folder}", f"other={folder}")
    assert set(record["shared_directions"].values()) == {4}
    assert all(float(row["φ(p, p) of B"]) == pytest.approx(1) for row in page.table.values())


def started(store: Store, seed: int, rank: int) -> Path:
    """A run of a store whose A is as the seed drew it, and whose B is its own."""
    torch.manual_seed(seed)
    model = tiny.model("roberta", seed)
    tiny.method(rank=rank).apply(model, pooler="train")
    torch.manual_seed(rank)
    for name, parameter in model.named_parameters():
        if name.endswith(".B"):
            torch.nn.init.normal_(parameter)
    run = f"rte-tiny-lora-seed{seed}-{rank:08d}"
    save_adapter(model, store.adapter_folder(run), base={"name": "tiny"})
    config = {"method": {"name": "lora", "rank": rank}, "task": {"name": "rte"}, "model": {"name": "tiny"}}
    store.write(RunRecord(run=run, identity="", status="done", config=config, seed=seed, adapter=f"adapters/{run}"))
    return store.root / run


def test_what_runs_of_one_seed_share_at_their_start_is_not_read_as_learnt(tmp_path: Path):
    store = Store(tmp_path / "store")
    first, second, third = started(store, 0, 2), started(store, 0, 4), started(store, 1, 4)
    record, page = report_on(tmp_path, f"adapter={first}", f"other={second}")
    assert record["shared_directions"]["q A"] > 0  # of A as it was drawn
    words = "oth runs have seed 0 and so start with related A: overlap of A is not all learning"
    assert any(words in line for line in page.lists["reading"])
    assert any(words in note for note in record["notes"])
    record, page = report_on(tmp_path, f"adapter={first}", f"other={third}")
    assert record["notes"] == []
    assert not any("related A" in line for line in page.lists["reading"])
    record, page = report_on(tmp_path, f"adapter={first}", f"other={adapters(tmp_path / 'unknown')}")
    assert any("The seeds are not known" in line for line in page.lists["reading"])


def test_the_reading_names_an_update_of_rank_one(tmp_path: Path):
    folder = tmp_path / "a.bin"
    thin = torch.randn(16, 2) * torch.tensor([1.0, 1e-3])
    torch.save({f"{A0}.lora_A": torch.linalg.qr(torch.randn(16, 2)).Q.T.contiguous(), f"{A0}.lora_B": thin}, folder)
    _, page = report_on(tmp_path, f"adapter={folder}", "alpha=2")
    assert any("1 of 1 updates is nearly rank one" in line and "layer 0 q" in line for line in page.lists["reading"])


def test_the_three_layouts_give_the_same_numbers(tmp_path: Path):
    weights = base(tmp_path / "base")
    tables = {layout: report_on(tmp_path, f"adapter={adapter}", f"base={weights}",
                               *(["alpha=6"] if layout == "loralib" else []))[1].table
              for layout, adapter in layouts(tmp_path).items()}
    assert float(tables["ours"]["layer 1 v"]["factor"]) > 0
    assert tables["peft"] == tables["ours"]
    assert tables["loralib"] == tables["ours"]


def test_the_page_asks_the_network_for_nothing(tmp_path: Path):
    folder, weights = adapters(tmp_path / "a"), base(tmp_path / "base")
    _, page = report_on(tmp_path, f"adapter={folder}", f"base={weights}", f"other={folder}")
    assert not re.findall(r"https?:|//\w+\.|url\(|@import|<link|<img|\ssrc=|\shref=(?!\"#)", page.source)
    assert "default-src 'none'" in page.source


def test_names_cannot_break_the_page(tmp_path: Path):
    folder = adapters(tmp_path / "<b>&amp;")
    record, page = report_on(tmp_path, f"adapter='{folder}'")
    assert "<b>&amp;" not in page.source
    assert page.facts["source"] == str(folder)
    assert record["matrices"] == 4


def test_what_cannot_be_studied_is_named_and_the_rest_comes_out(tmp_path: Path):
    first, second, weights = adapters(tmp_path / "a"), adapters(tmp_path / "b", seed=3), base(tmp_path / "base")
    spoil(first, {"layer.0.attention.self.query.q.A": torch.nan, "layer.1.attention.self.value.v.B": 0.0})
    tensors = load_file(weights / "model.safetensors")
    del tensors["roberta.encoder.layer.1.attention.self.query.weight"]
    save_file(tensors, weights / "model.safetensors")
    record, page = report_on(tmp_path, f"adapter={first}", f"base={weights}", f"other={second}")
    assert list(page.table) == ["layer 0 v", "layer 1 q"]
    assert page.table["layer 1 q"]["factor"] == "-"
    assert float(page.table["layer 0 v"]["factor"]) > 0
    for words in ("query.q.A holds NaN", "value.v.B is zero", "no tensor roberta.encoder.layer.1.attention.self.query"):
        assert sum(words in line for line in page.lists["problems"]) == 1
    assert len(record["problems"]) == len(page.lists["problems"]) == 3


def spoil(folder: Path, values: Mapping[str, float]) -> None:
    """Fill tensors of an adapter, found by the end of their names, and enter the file's new sum."""
    import hashlib

    tensors = load_file(folder / "adapter.safetensors")
    for ending, value in values.items():
        next(tensor for name, tensor in tensors.items() if name.endswith(ending)).fill_(value)
    save_file(tensors, folder / "adapter.safetensors")
    description = json.loads((folder / "adapter.json").read_text())
    description["sha256"] = hashlib.sha256((folder / "adapter.safetensors").read_bytes()).hexdigest()
    (folder / "adapter.json").write_text(json.dumps(description))


@pytest.mark.parametrize(("setting", "message"), [
    ("base=robertabase", "is neither a file, nor a folder, nor one of .*; did you mean 'roberta-base'"),
    ("other=nowhere", "no adapter and no run at nowhere"),
])
def test_a_base_or_other_that_is_not_there_is_an_error(setting: str, message: str, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=message):
        report_on(tmp_path, f"adapter={adapters(tmp_path / 'a')}", setting)
    assert not (tmp_path / "report.html").exists()


def test_what_speaks_against_the_base_is_said(tmp_path: Path):
    weights = base(tmp_path / "base")
    tensors = load_file(weights / "model.safetensors")
    tensors[f"{A0}.weight"].zero_()
    save_file(tensors, weights / "model.safetensors")
    (weights / "config.json").write_text(json.dumps({"model_type": "bert"}))
    record, page = report_on(tmp_path, f"adapter={adapters(tmp_path / 'a')}", f"base={weights}")
    assert page.table["layer 0 q"]["factor"] == "-"
    for words in ("is of a 'roberta' model, and",
                  f"its base weight cannot be read: tensor {A0}.weight of {weights} is zero"):
        assert sum(words in line for line in record["problems"]) == 1


def test_an_adapter_of_another_shape_is_a_problem(tmp_path: Path):
    torch.save({f"{A0}.lora_A": torch.randn(2, 8), f"{A0}.lora_B": torch.randn(8, 2)}, tmp_path / "b.bin")
    record, page = report_on(tmp_path, f"adapter={adapters(tmp_path / 'a')}", f"other={tmp_path / 'b.bin'}")
    assert len(page.table) == 4
    assert "have no matrix in common" in record["problems"][0]


def test_without_alpha_norms_are_of_BA_and_nothing_is_amplified(tmp_path: Path):
    A, B = torch.randn(2, 16), torch.randn(16, 2)
    torch.save({f"{A0}.lora_A": A, f"{A0}.lora_B": B}, tmp_path / "a.bin")
    record, page = report_on(tmp_path, f"adapter={tmp_path / 'a.bin'}", f"base={base(tmp_path / 'base')}")
    assert float(page.table["layer 0 q"]["‖BA‖"]) == pytest.approx((B @ A).norm().item(), rel=1e-5)
    assert (page.facts["alpha"], record["amplification"]) == ("unknown", None)
    assert "give alpha=" in record["problems"][0]


def test_the_adapters_own_base_is_found_on_this_machine(tmp_path: Path):
    folder = save_adapter(tiny.adapted("roberta", tiny.method()), tmp_path / "a",
                          base={"name": "tiny", "path": str(base(tmp_path / "base")), "package": None,
                                "revision": None})
    record, page = report_on(tmp_path, f"adapter={folder}")
    assert record["amplification"] > 0
    assert page.facts["base weights"] == "the adapter's own"


@pytest.mark.parametrize("setting", ["alpha=16", "fused=[q,v]"])
def test_what_is_said_of_loralib_files_is_refused_for_an_adapter_that_stores_it(setting: str, tmp_path: Path):
    files = layouts(tmp_path, rank=3)
    for adapter in (files["ours"], files["peft"]):
        with pytest.raises(ValueError, match=f"^{setting[:5]}.* is of a loralib file.* stores its own: leave it out"):
            report_on(tmp_path, f"adapter={adapter}", setting)
    if setting.startswith("fused"):  # of the other
        report_on(tmp_path, f"adapter={files['ours']}", f"other={files['loralib']}", setting)


def test_an_adapter_must_be_given(tmp_path: Path):
    with pytest.raises(ValueError, match="adapter is not given"):
        report_on(tmp_path)


def test_steps_of_a_large_rank_are_few_and_end_at_it():
    assert steps(8) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert steps(64) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]
    assert steps(20) == [1, 2, 3, 4, 6, 8, 12, 16, 20]


def test_the_authors_adapter_is_nearly_rank_one_in_the_last_layers_query(shared: Path, tmp_path: Path):
    record, page = report_on(tmp_path, f"adapter={shared / 'adapters' / 'roberta_base_lora_mnli.bin'}", "alpha=16")
    assert record["lowest_effective_rank"]["matrix"] == "layer 11 q"
    assert len(page.table) == 24
    assert record["parameters"] == 24 * 8 * 2 * 768
    assert any("nearly rank one" in line and "layer 11 q (99 %)" in line for line in page.lists["reading"])


HOVER = """<script>document.querySelector("g[data-tip] .hit").dispatchEvent(
  new PointerEvent("pointermove", {bubbles: true, clientX: 90, clientY: 90}))</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
def test_chromium_renders_the_page_without_errors(tmp_path: Path):
    folder, other, weights = adapters(tmp_path / "a"), adapters(tmp_path / "b", seed=5), base(tmp_path / "base")
    record, page = report_on(tmp_path, f"adapter={folder}", f"base={weights}", f"other={other}")
    Path(record["page"]).write_text(page.source.replace("</body>", f"{HOVER}</body>"))
    done = subprocess.run([str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
                           Path(record["page"]).resolve().as_uri()], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert f'data-marks="{len(page.tips)}"' in done.stdout   # set by the page's own script
    assert done.stdout.count('<rect class="bar"') == sum(" σ" in tip or " step " in tip for tip in page.tips)
    assert re.search(r'<div id="tip"[^>]*display: block[^>]*>layer 0 q: σ1 = [\d.]+</div>', done.stdout)
    drawn = tmp_path / "drawn.html"
    drawn.write_text(done.stdout)
    assert Page(drawn).table == page.table
