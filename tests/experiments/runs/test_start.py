"""Starting from another run's adapter: what is taken over, what makes another run, what is refused."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig
from safetensors.torch import load_file

from experiments.artifacts.kinds import scores
from experiments.runs.execute import run
from experiments.runs.identity import Run, identity, run_name
from experiments.runs.source import find_source
from experiments.runs.start import start_from
from experiments.store.store import RunRecord, Store
from experiments.sweeps.ensure import lots
from lora.adapter_file import adapter_tensors
from tests.experiments.artifacts.made import configured, record
from tests.experiments.made import adapted, compose, save_model
from tests.experiments.runs.made import METHODS, overrides

SOURCE = ["seed=5", "trainer.epochs=4", "trainer.learning_rate=1e-2"]  # another run than the one that starts from it


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The store of the one source that all tests share, once it is made."""
    return {"store": tmp_path_factory.mktemp("source") / "store"}


@pytest.fixture
def source(tiny_run: list[str], made_once: dict[str, Path]) -> RunRecord:
    """A finished run in the store of `tiny_run`."""
    record = run(compose(*tiny_run, *SOURCE, f"store={made_once['store']}"))
    shutil.copytree(made_once["store"], Path(compose(*tiny_run).store))
    return record


def tensors_of(cfg: DictConfig, made: RunRecord) -> dict[str, torch.Tensor]:
    return load_file(Path(cfg.store) / str(made.adapter) / "adapter.safetensors")


@pytest.mark.parametrize("method", METHODS)
def test_a_run_starts_from_the_others_adapter_with_the_head_it_would_have_had(tiny_run: list[str], method: str) -> None:
    lines = overrides([*tiny_run, "trainer.max_length=64"], method)
    made = run(compose(*lines, *SOURCE, "trainer.learning_rate=1e-3"))
    cfg = compose(*lines, f"init_from={made.run}")
    saved, (model, _), (plain, _) = tensors_of(cfg, made), adapted(cfg), adapted(compose(*lines))
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    said = start_from(find_source(cfg), model, "tiny")
    assert said == {"run": made.run, "task": "classification", "score": made.score,
                    "sha256": json.loads((find_source(cfg) / "adapter.json").read_text())["sha256"]}
    fresh = adapter_tensors(plain)
    changed = 0
    for name, tensor in adapter_tensors(model).items():
        head = name.startswith(("classifier", "bert.pooler"))
        assert torch.equal(tensor, fresh[name] if head else saved[name]), name
        changed += not head and not torch.equal(tensor, fresh[name])
    assert changed > 0
    now = dict(model.named_parameters())
    assert all(torch.equal(now[name], before) for name, before in frozen.items())


def test_the_order_of_targets_is_no_difference(tiny_run: list[str], source: RunRecord) -> None:
    lines = [*tiny_run, f"init_from={source.run}"]
    assert run(compose(*lines, "method.targets=[v,q]")).init_from["run"] == source.run
    with pytest.raises(ValueError, match=r"method\.targets is \['q', 'v'\] there and \['q', 'k'\] here"):
        run(compose(*lines, "method.targets=[q,k]"))


def test_the_record_says_where_a_run_started_and_the_training_goes_on_from_there(
    tiny_run: list[str], source: RunRecord
) -> None:
    plain, started = run(compose(*tiny_run)), run(compose(*tiny_run, f"init_from={source.run}"))
    assert started.run != plain.run
    assert started.init_from["run"] == source.run
    assert "init_from" in started.summary()
    assert "init_from" not in plain.summary()
    stored = Store(compose(*tiny_run).store).read(started.run)
    assert stored.init_from == started.init_from
    assert stored.history[0]["loss"] != plain.history[0]["loss"]


def test_a_finished_run_is_found_done_without_the_adapter_that_it_started_from(
    tiny_run: list[str], source: RunRecord
) -> None:
    cfg = compose(*tiny_run, f"init_from={source.run}")
    made = run(cfg)
    shutil.rmtree(Path(cfg.store) / str(source.adapter))
    assert run(cfg) == made
    cfg.overwrite = True
    with pytest.raises(FileNotFoundError, match="kept its adapter in"):
        run(cfg)
    assert Store(cfg.store).read(made.run) == made


def test_a_finished_run_whose_source_is_another_by_now_says_so(
    tiny_run: list[str], source: RunRecord, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = compose(*tiny_run, f"init_from={source.run}", "trainer.epochs=1")
    made = run(cfg)
    assert run(cfg) == made
    assert caplog.text.count("overwrite=true") == 0
    again = run(compose(*tiny_run, *SOURCE, "trainer.device_batch_size=1", "overwrite=true"))
    assert again.run == source.run
    now = json.loads((find_source(cfg) / "adapter.json").read_text())["sha256"]
    assert now != made.init_from["sha256"]
    assert run(cfg) == made
    before = made.init_from["sha256"]
    assert (f"{made.run} started from {source.run} as it was (sha256 {before[:12]}), not as it is now ({now[:12]}): "
            "train it again with overwrite=true") in caplog.text
    caplog.clear()
    cfg.overwrite = True
    assert run(cfg).init_from["sha256"] == now
    cfg.overwrite = False
    run(cfg)
    assert "overwrite=true" not in caplog.text


def test_a_source_is_known_by_the_run_that_made_it_and_not_by_its_place(
    tiny_run: list[str], source: RunRecord, tmp_path: Path
) -> None:
    store = Path(compose(*tiny_run).store)
    copied = shutil.copytree(store / str(source.adapter), tmp_path / "best")
    record_file, folder = store / "runs" / f"{source.run}.json", store / str(source.adapter)
    places = [source.run, store / source.run, record_file, folder, copied]
    cfgs = [compose(*tiny_run, f"init_from='{place}'") for place in places]
    assert len({identity(cfg) for cfg in cfgs}) == 1
    assert {find_source(cfg).resolve() for cfg in cfgs} == {folder.resolve(), copied}
    assert identity(cfgs[0]) != identity(compose(*tiny_run))
    other = run(compose(*tiny_run, *SOURCE, "method.dropout=0.1"))
    assert identity(compose(*tiny_run, f"init_from={other.run}")) != identity(cfgs[0])


def test_a_run_that_is_not_there_yet_has_its_name_already(tiny_run: list[str]) -> None:
    """So that a table can name what depends on it."""
    cfg = compose(*tiny_run, *SOURCE)
    before = identity(compose(*tiny_run, f"init_from='{cfg.store}/{run_name(cfg)}'"))
    made = run(cfg)
    assert identity(compose(*tiny_run, f"init_from={made.run}")) == before


def test_an_adapter_of_no_run_is_known_by_its_tensors(tiny_run: list[str], source: RunRecord, tmp_path: Path) -> None:
    folder = shutil.copytree(Path(compose(*tiny_run).store) / str(source.adapter), tmp_path / "mine")
    description = json.loads((folder / "adapter.json").read_text())
    (folder / "adapter.json").write_text(json.dumps(description | {"extra": {}}))
    cfg = compose(*tiny_run, f"init_from='{folder}'")
    first = identity(cfg)
    assert run(cfg).init_from["sha256"] == description["sha256"]
    (folder / "adapter.json").write_text(json.dumps(description | {"extra": {}, "sha256": "0" * 64}))
    assert identity(cfg) != first


@pytest.mark.parametrize(("change", "message"), [
    ("method.rank=2", "method.rank is 4 there and 2 here"),
    ("method.alpha=4", "method.alpha is 16 there and 4 here"),
    ("method.targets=[q,k]", r"method.targets is \['q', 'v'\] there and \['q', 'k'\] here"),
    ("method.init=pissa", "method.init is 'kaiming' there and 'pissa' here"),
    ("method.dora=true", "method.dora is False there and True here"),
])
def test_an_adapter_of_another_shape_is_refused_before_the_run_has_a_name(
    tiny_run: list[str], source: RunRecord, change: str, message: str
) -> None:
    cfg = compose(*tiny_run, change, f"init_from={source.run}")
    with pytest.raises(ValueError, match=f"init_from {source.run}: {message}"):
        run(cfg)
    assert [made.run for made in Store(cfg.store).all()] == [source.run]


def test_another_method_is_refused(tiny_run: list[str], source: RunRecord) -> None:
    lines = [line for line in tiny_run if not line.startswith("method.")]
    with pytest.raises(ValueError, match=r"its method is lora \(LoRA\), this run's is bitfit \(BitFit\)"):
        run(compose(*lines, "method=bitfit", f"init_from={source.run}"))


def test_dropout_may_be_another(tiny_run: list[str], source: RunRecord) -> None:
    assert find_source(compose(*tiny_run, f"init_from={source.run}", "method.dropout=0.1")) is not None


def test_random_starts_may_be_others(tiny_run: list[str], source: RunRecord) -> None:
    """They are overwritten."""
    cfg = compose(*tiny_run, "trainer.epochs=1", f"init_from={source.run}", "method.init=gaussian")
    assert run(cfg).init_from["run"] == source.run


def test_the_parts_of_combined_methods_are_compared_field_by_field(tiny_run: list[str]) -> None:
    lines = [line for line in tiny_run if not line.startswith("method.")]
    lines += ["method=lora+prefix_embed", "trainer.max_length=64", "trainer.epochs=1"]
    made = run(compose(*lines))
    lines += [f"init_from={made.run}"]
    assert run(compose(*lines, "method.parts.lora.dropout=0.1")).init_from["run"] == made.run
    for change, message in {"lora.rank=4": "rank is 8 there and 4 here", "prefix_embed.l_p=4": "l_p is 8 there and 4"
                            }.items():
        with pytest.raises(ValueError, match=rf"^init_from {re.escape(made.run)}: method.parts.\w+.{message}[^,]*$"):
            run(compose(*lines, f"method.parts.{change}"))
    lines[lines.index("method=lora+prefix_embed")] = "method=lora+prefix_layer"
    with pytest.raises(ValueError, match=r"parts\.prefix_embed\.class is 'PrefixEmbed' there and None here"):
        run(compose(*lines))


def test_another_base_model_is_refused_before_training(
    tiny_run: list[str], source: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import save_file

    folder = save_model(tmp_path / "other")
    tensors = {name: tensor * 1.5 for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    monkeypatch.setattr("experiments.runs.execute.Trainer", None)  # making one would raise
    cfg = compose(*tiny_run, f"model.path={folder}", f"init_from={source.run}")
    with pytest.raises(ValueError, match=r"adapts tiny, of which the weights are not those of other"):
        run(cfg)
    larger = f"model.path={save_model(tmp_path / 'larger', num_hidden_layers=3)}"
    with pytest.raises(ValueError, match=r"adapts tiny, of which the weights are not those of larger"):
        run(compose(*tiny_run, larger, f"init_from={source.run}"))
    again = shutil.copytree(folder, tmp_path / "again" / "tiny")
    with pytest.raises(ValueError, match=r"adapts tiny, of which the weights are not those here: .*model\.init=random"):
        run(compose(*tiny_run, f"model.path={again}", f"init_from={source.run}"))
    deeper = tmp_path / "deeper"
    shutil.copytree(folder, deeper)
    config = json.loads((deeper / "config.json").read_text()) | {"model_type": "roberta"}
    (deeper / "config.json").write_text(json.dumps(config))
    model, _ = adapted(compose(*tiny_run))
    model.config.model_type = "roberta"
    with pytest.raises(ValueError, match="adapts a bert model, tiny; deeper is a roberta"):
        start_from(find_source(compose(*tiny_run, f"init_from={source.run}")), model, "deeper")


def test_full_fine_tuning_of_another_base_model_is_refused_by_name(tiny_run: list[str], tmp_path: Path) -> None:
    """It leaves no weight of the base to compare."""
    lines = [*(line for line in tiny_run if not line.startswith("method.")), "method=ft", "trainer.learning_rate=1e-3"]
    made = run(compose(*lines))
    lines += [f"init_from={made.run}"]
    assert run(compose(*lines)).init_from["run"] == made.run
    with pytest.raises(ValueError, match=f"{made.run} adapts tiny, not other"):
        run(compose(*lines, f"model.path={save_model(tmp_path / 'other')}"))


def test_a_missing_or_broken_source_is_named(tiny_run: list[str], source: RunRecord, tmp_path: Path) -> None:
    store = Path(compose(*tiny_run).store)
    with pytest.raises(FileNotFoundError, match="init_from nowhere/at-all: no adapter and no run at nowhere/at-all"):
        run(compose(*tiny_run, "init_from=nowhere/at-all"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"is not an adapter folder: it has no adapter\.json"):
        run(compose(*tiny_run, f"init_from='{tmp_path / 'empty'}'"))
    made = Store(store).read(source.run)
    made.status = "collapsed"
    Store(store).write(made)
    with pytest.raises(ValueError, match=f"run {source.run} is collapsed, not done"):
        run(compose(*tiny_run, f"init_from={source.run}"))
    shutil.rmtree(store / str(source.adapter))
    with pytest.raises(FileNotFoundError, match=f"init_from {source.run}: run {source.run} kept its adapter in"):
        run(compose(*tiny_run, f"init_from={source.run}"))
    assert [record.run for record in Store(store).all()] == [source.run]


# a table of the paper

def test_the_papers_table_trains_mnli_once_and_before_what_starts_from_it(tmp_path, fake_runs) -> None:
    trained: list[list[Run]] = []

    def train(runs: list[Run], jobs: int) -> dict[str, str]:
        trained.append(runs)
        for each in runs:
            Store(tmp_path).write(record(each.name))
        return {}

    filters = ("models=[roberta-base]", "tasks=[rte,mrpc,cola]", "seeds=[0,1]")
    scores.report(configured(tmp_path, "suite=paper", *filters), fake_runs, train)
    first, second = ([each.name for each in lot] for lot in trained)
    names = [[f"{task}-roberta-base-lora-authors-seed{seed}" for task in tasks for seed in (0, 1)]
             for tasks in (("cola", "mnli"), ("mrpc", "rte"))]
    assert [sorted(first), sorted(second)] == names
    for each in trained[1]:
        mnli = f"mnli-roberta-base-lora-authors-seed{each.seed}"
        assert each.source.name == mnli
        assert each.overrides[-1].startswith("init_from=")
        assert each.overrides[-1].rstrip("'").endswith(f"/{mnli}")


def test_a_table_trains_mnli_again_where_its_record_is_here_without_its_adapter(tmp_path, fake_runs) -> None:
    trained: list[list[Run]] = []
    cfg = configured(tmp_path, "suite=paper", "models=[roberta-base]", "tasks=[rte]", "methods=[lora]", "seeds=[0,1]")
    for seed in (0, 1):
        (tmp_path / "adapters" / f"{seed}").mkdir(parents=True)
        made = record(f"mnli-roberta-base-lora-authors-seed{seed}", adapter=f"adapters/{seed}")
        Store(tmp_path).write(made)
    (tmp_path / "adapters" / "0").rmdir()  # a clone of the repository has no adapter
    scores.report(cfg, fake_runs, lambda runs, jobs: trained.append(runs) or {})
    first, second = ([each.name for each in lot] for lot in trained)
    assert (first, second) == (["mnli-roberta-base-lora-authors-seed0", "rte-roberta-base-lora-authors-seed1"],
                               ["rte-roberta-base-lora-authors-seed0"])
    assert trained[0][0].overrides[-1] == "overwrite=true"


def test_a_table_lists_runs_whose_source_is_another_by_now(tmp_path, fake_runs, capsys) -> None:
    cfg = configured(tmp_path, "suite=paper", "models=[roberta-base]", "tasks=[rte]", "methods=[lora]", "train=false")
    for seed, now in ((0, "a" * 64), (1, "b" * 64), (2, None)):
        mnli, rte = (f"{task}-roberta-base-lora-authors-seed{seed}" for task in ("mnli", "rte"))
        Store(tmp_path).write(record(rte, init_from={"run": mnli, "sha256": "a" * 64}))
        if now is not None:  # a clone of the repository has no adapter to compare
            (tmp_path / "adapters" / mnli).mkdir(parents=True)
            (tmp_path / "adapters" / mnli / "adapter.json").write_text(json.dumps({"sha256": now}))
    scores.report(cfg, fake_runs, None)
    printed = " ".join(capsys.readouterr().out.split())
    said = re.findall(r"(\S+) started from (\S+) as it was \(sha256 (\w+)\), not as it is now \((\w+)\)", printed)
    name = "-roberta-base-lora-authors-seed1"
    assert said == [(f"rte{name}", f"mnli{name}", "a" * 12, "b" * 12)]


def test_restricted_rows_and_other_suites_start_from_the_base(tmp_path, fake_runs, capsys) -> None:
    runs = []

    def keep(wanted: list[Run], jobs: int) -> dict[str, str]:
        runs.extend(wanted)
        return {}

    scores.report(configured(tmp_path, "suite=paper", "models=[roberta-large]", "seeds=[0]"), fake_runs, keep)
    started = {re.sub("-seed.*", "", each.name): each.source is not None for each in runs if "-lora-" in each.name}
    assert started == {f"{task}-roberta-large-lora-{preset}": preset == "paper" and task in ("mrpc", "rte", "stsb")
                       for preset in ("paper", "restricted")
                       for task in ("mnli", "sst2", "mrpc", "cola", "qnli", "qqp", "rte", "stsb")}
    assert not any(each.source for each in runs if "-restricted" in each.name)
    assert "start from its mnli adapter, ours from that of the same model, method and seed" in capsys.readouterr().out
    runs.clear()
    scores.report(configured(tmp_path, "suite=nano", "seeds=[0]"), fake_runs, keep)
    assert not any(each.source for each in runs)
    assert "start from its mnli adapter, ours from the pre-trained model" in capsys.readouterr().out


def test_a_suite_without_the_first_task_cannot_start_from_it(tmp_path, fake_runs) -> None:
    cfg = configured(tmp_path, "suite=minilm", "suite.init_from=true")
    with pytest.raises(ValueError, match="init_from of suite minilm: mrpc starts from 'mnli' is not one of mrpc, rte"):
        scores.report(cfg, fake_runs, None)


def test_runs_that_wait_for_none_of_the_others_come_first() -> None:
    mnli, cola = Run("mnli", 0, ()), Run("cola", 0, ())
    rte, done = Run("rte", 0, (), mnli), Run("mrpc", 0, (), Run("another mnli", 0, ()))
    assert lots([rte, cola, mnli, done]) == [[cola, mnli, done], [rte]]
    assert lots([rte]) == [[rte]]
    assert lots([]) == []

