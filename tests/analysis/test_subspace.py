"""The command for two adapters: the numbers of the mathematics, files, layouts alike, and every input that is odd."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from analysis import subspace
from analysis.adapters.read import read_updates
from analysis.figures.similarity import similarity_figure
from analysis.linalg.similarity import right_singular, similarity
from analysis.studies import subspace as subspace_study
from experiments.runs.execute import run
from experiments.tables import publish_study
from lora.adapter_file import save_adapter
from tests.analysis.made import call, factors, layouts, module, write
from tests.experiments.made import compose, save_model, write_rows
from tests.lora import adapted_models as tiny


def compare(folder: Path, a: Path, b: Path, **values: Any) -> dict[str, Any]:
    return call(subspace.main, "subspace", folder, a=a, b=b, **values)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path / "a.bin", seed=1, rank=2), write(tmp_path / "b.bin", seed=2, rank=9)


def test_tables_and_figures_are_written_and_hold_phi(pair: tuple[Path, Path], tmp_path: Path):
    found = compare(tmp_path / "out", *pair, pictures=True)
    names = ["shared_directions.pdf", "shared_directions.png", "similarity.pdf", "similarity.png", "subspace.csv",
             "subspace.md", "subspace_phi.csv", "subspace_sites.csv"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert sorted(found["files"]) == [str(tmp_path / "out" / name) for name in names]
    sites = pd.read_csv(tmp_path / "out" / "subspace_sites.csv")
    assert list(zip(sites.layer, sites.role, strict=True)) == [(i, role) for i in range(3) for role in "qv"]
    a, b = (read_updates(source).updates[3] for source in pair)
    phi = similarity(right_singular(a.A), right_singular(b.A))
    assert (sites.phi_1_1[3], sites.phi_p_p[3]) == pytest.approx((phi[0, 0].item(), phi[1, 1].item()))
    every = pd.read_csv(tmp_path / "out" / "subspace_phi.csv")
    rows = every[(every.layer == 1) & (every.role == "v")]
    assert list(zip(rows.i, rows.j, strict=True)) == [(i, j) for i in (1, 2) for j in range(1, 10)]
    assert rows.phi.tolist() == pytest.approx(phi.flatten().tolist(), abs=1e-5)
    assert rows.chance.tolist() == pytest.approx([max(i, j) / 24 for i in (1, 2) for j in range(1, 10)], abs=1e-5)
    distances = [math.sqrt(2 * (1 - phi)) for phi in sites.phi_p_p]  # appendix G, p = 2
    assert sites.distance_p.tolist() == pytest.approx(distances)
    cosine = torch.linalg.svdvals(right_singular(a.A).T @ right_singular(b.A))[0].item()
    assert sites.smallest_angle_degrees[3] == pytest.approx(math.degrees(math.acos(cosine)))
    assert (sites.smallest_angle_degrees - sites.chance_angle_degrees).abs().max() < 30
    assert (sites.chance_p[3], sites.rank_a[3], sites.rank_b[3]) == (pytest.approx(2 / 24), 2, 9)
    for row, role in zip(found["summary"], "qv", strict=True):
        assert row["phi_1_1"] == pytest.approx(sites[sites.role == role].phi_1_1.mean())
        assert row["low"] <= row["phi_1_1"] <= row["high"]
        assert row["distance_p"] == pytest.approx(sites[sites.role == role].distance_p.mean())
    for column in ("smallest_angle_degrees", "chance_angle_degrees", "distance_p"):
        assert sum(column in note for note in found["notes"]) == 1
    assert "| q | 2 | 9 | 24 | 3 |" in (tmp_path / "out" / "subspace.md").read_text()


def test_dora_is_compared_by_its_factors_and_not_by_its_dw(tmp_path: Path):
    for name, fields in (("a", {"dora": True}), ("b", {"rank": 3})):
        save_adapter(tiny.adapted("roberta", tiny.method(**fields)), tmp_path / name, base={"name": "tiny"})
    for which in "AB":
        assert compare(tmp_path / which, tmp_path / "a", tmp_path / "b", which=which)["summary"][0]["sites"] == 2
    with pytest.raises(ValueError, match="is a DoRA adapter"):
        compare(tmp_path / "dW", tmp_path / "a", tmp_path / "b", which="dW")


def test_two_adapters_of_one_name_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sources = []
    for seed in (0, 1):
        (tmp_path / f"seed{seed}").mkdir()
        sources.append(write(tmp_path / f"seed{seed}" / "checkpoint-500.bin", seed=seed))
    captions: list[str] = []

    def draw(rows: Any, caption: str, i: str, j: str) -> Any:
        captions.append(caption)
        return similarity_figure(rows, caption, i, j)

    monkeypatch.setattr(subspace_study, "similarity_figure", draw)
    found = compare(tmp_path / "out", *sources)
    for words in (found["title"], captions[0]):
        assert all(str(source) in words for source in sources)


def test_a_direction_that_two_adapters_share_is_counted(tmp_path: Path):
    common = torch.randn(24)
    for name, seed in (("a.bin", 1), ("b.bin", 2)):
        tensors = factors(seed=seed, rank=4)
        for key in tensors:
            if key.endswith("query.lora_A"):
                tensors[key][0] = 30 * common
        write(tmp_path / name, tensors)
    found = compare(tmp_path / "out", tmp_path / "a.bin", tmp_path / "b.bin")
    assert [row["shared"] for row in found["summary"]] == [1, 0]
    assert "the first 1 of 4 is shared beyond chance" in found["notes"][0]
    assert "none is shared beyond chance" in found["notes"][1]


@pytest.mark.parametrize("which", ["A", "B", "dW"])
def test_peft_loralib_and_our_files_give_the_same_numbers(which: str, tmp_path: Path):
    other = write(tmp_path / "other.bin", seed=3, rank=2, layers=2, d=16)
    found = [compare(tmp_path / "out", a, other, which=which) for a in layouts(tmp_path, rank=3).values()]
    for each in found[1:]:
        assert [list(row.values()) for row in each["summary"]] == [
            [pytest.approx(value) for value in row.values()] for row in found[0]["summary"]]


def test_the_command_ends_with_json_and_names_a_misspelt_role(
        pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(sys, "argv", ["subspace", f"a={pair[0]}", f"b={pair[1]}", "roles=[qq]",
                                      f"output={tmp_path / 'out'}"])
    with pytest.raises(SystemExit) as ended:
        subspace.main()
    assert ended.value.code == 1
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert "role 'qq'" in said["error"]
    assert "is not one of q, v" in said["error"]
    assert not (tmp_path / "out").exists()


def test_wandb_gets_what_is_written(pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    given: list[str] = []

    class Recorder:
        def __init__(self, *arguments: Any, **options: Any) -> None: ...
        def __enter__(self) -> "Recorder": return self
        def __exit__(self, *error: Any) -> None: ...
        def log_table(self, name: str, table: pd.DataFrame) -> None: given.append(name)
        def log_picture(self, name: str, file: Path) -> None: given.append(file.name)
        def log_summary(self, record: dict[str, Any]) -> None: given.append(record["study"])

    monkeypatch.setattr(publish_study, "Logger", Recorder)
    compare(tmp_path / "out", *pair)
    tables, pictures = ["subspace", "subspace_sites", "subspace_phi"], ["similarity.png", "shared_directions.png"]
    assert given == [*tables, *pictures, "subspace"]


def test_what_cannot_be_compared_is_named_and_the_rest_comes_out(tmp_path: Path):
    a, b = factors(seed=1), factors(seed=2)
    a[f"{module(0, 'query')}.lora_B"].zero_()
    a[f"{module(0, 'value')}.lora_A"][0, 0] = torch.nan
    for key in "AB":
        del b[f"{module(1, 'query')}.lora_{key}"]
    b[f"{module(1, 'value')}.lora_A"] = torch.randn(2, 30)
    found = compare(tmp_path / "out", write(tmp_path / "a.bin", a), write(tmp_path / "b.bin", b))
    said = "\n".join(found["problems"])
    for part in (f"{module(0, 'query')}.lora_B is zero: this site is untrained",
                 f"{module(0, 'value')}.lora_A holds NaN", f"{module(1, 'query')}: only {tmp_path / 'a.bin'} has it",
                 f"{module(1, 'value')}: dW is (24, 24) in {tmp_path / 'a.bin'} and (24, 30)"):
        assert part in said
    assert [row["sites"] for row in found["summary"]] == [1, 1]
    assert "holds NaN" in (tmp_path / "out" / "subspace.md").read_text()


def test_nothing_is_written_where_nothing_can_be_compared(tmp_path: Path):
    a, b = write(tmp_path / "a.bin"), write(tmp_path / "b.bin", d=30)
    with pytest.raises(ValueError, match="no matrix in common"):
        compare(tmp_path / "out", a, b)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("values", "message"), [
    ({"layers": [0, 12]}, "layer 12 .* is not one of 0, 1, 2"), ({"layers": "last"}, "neither all nor numbers"),
    ({"roles": ["q", "k"]}, "role 'k' .* is not one of q, v"), ({"which": "C"}, "which 'C' is not one of A, B, dW"),
    ({"level": 1.5}, "level 1.5 is not between 0 and 1"), ({"b": None}, "b is not given")])
def test_a_choice_that_cannot_be_is_named(values: dict, message: str, pair: tuple[Path, Path], tmp_path: Path):
    with pytest.raises(ValueError, match=message):
        call(subspace.main, "subspace", tmp_path / "out", **{"a": pair[0], "b": pair[1]} | values)
    assert not (tmp_path / "out").exists()


def test_an_alpha_of_two_adapters_that_store_theirs_is_refused(tmp_path: Path):
    files = layouts(tmp_path, rank=3)
    with pytest.raises(ValueError, match=r"^alpha 6 is of a loralib file.*peft and .*ours stores its own"):
        call(subspace.main, "subspace", tmp_path / "out", a=files["peft"], b=files["ours"], alpha=6)
    call(subspace.main, "subspace", tmp_path / "out", a=files["peft"], b=files["loralib"], alpha=6)


def test_roles_and_layers_are_chosen(pair: tuple[Path, Path], tmp_path: Path):
    compare(tmp_path / "out", *pair, roles=["v"], layers=[2])
    sites = pd.read_csv(tmp_path / "out" / "subspace_sites.csv")
    assert (list(sites.layer), list(sites.role)) == ([2], ["v"])


def test_rank_one_has_one_number(tmp_path: Path):
    a, b = (write(tmp_path / f"{seed}.bin", seed=seed, rank=1) for seed in (1, 2))
    [q, _] = compare(tmp_path / "out", a, b)["summary"]
    assert q["phi_1_1"] == q["phi_p_p"]


def test_the_same_adapter_twice_is_said(tmp_path: Path):
    found = compare(tmp_path / "out", write(tmp_path / "a.bin"), write(tmp_path / "copy.bin"))
    assert any("are the same adapter" in note for note in found["notes"])
    assert found["summary"][0]["phi_p_p"] == pytest.approx(1)


def test_directions_that_are_zero_are_left_out_and_named(tmp_path: Path):
    a = factors(seed=1, rank=3)
    a[f"{module(0, 'query')}.lora_B"][:, 1] = a[f"{module(0, 'query')}.lora_B"][:, 0]
    b = write(tmp_path / "b.bin", seed=2, rank=3)
    found = compare(tmp_path / "out", write(tmp_path / "a.bin", a), b, which="B")
    assert found["problems"] == [f"{module(0, 'query')}: a's B has 2 directions: the other 1 are zero to rounding, "
                                 "and left out"]
    assert [(row["role"], row["rank_a"], row["sites"]) for row in found["summary"]] == [
        ("q", 2, 1), ("v", 3, 3), ("q", 3, 2)]


def test_different_base_models_are_said(tmp_path: Path):
    model = tiny.adapted("roberta", tiny.method())
    a, b = (save_adapter(model, tmp_path / name, base={"name": name}) for name in "ab")
    for name in "ab":  # equal fingerprints would settle it
        file = tmp_path / name / "adapter.json"
        description = json.loads(file.read_text())
        description["base"]["fingerprint"] = name
        file.write_text(json.dumps(description))
    assert any(problem.startswith("base model: 'a' in") for problem in compare(tmp_path / "out", a, b)["problems"])


def test_runs_of_one_seed_are_measured_at_their_start(tmp_path: Path):
    """The trained A are next to the initial ones, as the learning rate is next to zero."""
    given = ["model=local", f"model.path={save_model(tmp_path / 'model')}", "task=classification",
             f"task.files.train={write_rows(tmp_path / 'train.csv', 24, seed=1)}",
             f"task.files.validation={write_rows(tmp_path / 'validation.csv', 8, seed=2)}", "trainer.epochs=1",
             "trainer.batch_size=8", "trainer.learning_rate=1e-8", "trainer.precision=fp32", "trainer.device=cpu",
             "trainer.threads=1", "logger.wandb.mode=disabled", f"store={tmp_path / 'store'}"]
    one, other, last = (run(compose(*given, f"method.rank={rank}", f"seed={seed}")).run
                        for rank, seed in ((4, 0), (2, 0), (2, 1)))
    found = compare(tmp_path / "out", tmp_path / "store" / one, tmp_path / "store" / other)
    sites = pd.read_csv(tmp_path / "out" / "subspace_sites.csv")
    assert sites.at_start_p.tolist() == pytest.approx(sites.phi_p_p.tolist(), abs=1e-3)
    assert sites.at_start_p[0] > 0.5  # the first site's A have their first rows in common; by chance 2 / 32
    assert any("seed 0 and so start with related A" in note and "before training" in note for note in found["notes"])
    assert "seed 0" in found["title"]
    again = compare(tmp_path / "out", tmp_path / "store" / one, tmp_path / "store" / last)
    assert not any("related A" in note for note in again["notes"])
