"""A nano model ships only where fine-tuning from it beats fine-tuning from random weights, in enough tasks."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from experiments.config.compose import train_configs
from experiments.pretraining import gates
from experiments.pretraining.gates import Gate
from experiments.runs.identity import Run, run_name
from experiments.store.paths import CONF

CFG = OmegaConf.create({"model": {"name": "roberta-nano"}})


def fake(monkeypatch: pytest.MonkeyPatch, score: Any, seconds: float = 20.0, ready: float | None = 10.0) -> None:
    """Records whose score is `score(task, method, init)`; none of a run whose score is "failed"."""

    def finished(cfg: Any, tasks: tuple[str, ...], methods: tuple[str, ...]) -> dict[gates.Key, Any]:
        found = {gates.Key(task, method, rate): score(task, method, "random" if rate else "pretrained")
                 for task in tasks for method in methods for rate in (None, *gates.RATES[method])}
        return {key: SimpleNamespace(score=value, seconds=seconds, ready_seconds=ready, status="done")
                for key, value in found.items() if value != "failed"}

    monkeypatch.setattr(gates, "finished", finished)
    for name in ("bag_of_words", "overlap"):
        monkeypatch.setattr(gates, name, lambda task: {task.main_metric: 55.0})
    monkeypatch.setattr(gates, "chance", lambda task: 50.0)


def named(found: list[Gate]) -> dict[str, Gate]:
    return {gate.name: gate for gate in found}


@pytest.mark.parametrize(("gaining", "passes"), [(6, True), (5, False)])
def test_six_of_eight_tasks_must_gain(monkeypatch: pytest.MonkeyPatch, gaining: int, passes: bool) -> None:
    gain = {"ft": 10, "lora": 15}

    def score(task: str, method: str, init: str) -> float:
        gains = gates.GLUE.index(task) < gaining
        return 60 + (gain[method] - (not gains)) * (init == "pretrained")

    fake(monkeypatch, score)
    found = named(gates.understanding(CFG))
    assert found["tasks where ft gains 10 points"].passed == passes
    assert found["tasks where lora gains 15 points"].passed == passes
    assert found["tasks where lora gains 15 points"].value == gaining


@pytest.mark.parametrize(("score", "passes"), [
    (49.0, False), (50.0, False), (50.1, True), (98.9, True), (99.0, False), (99.5, False)])
def test_full_fine_tuning_is_above_chance_and_below_99(
    monkeypatch: pytest.MonkeyPatch, score: float, passes: bool
) -> None:
    fake(monkeypatch, lambda task, method, init: score)
    gate = named(gates.understanding(CFG))["rte: ft"]
    assert (gate.passed, gate.limits) == (passes, "> 50, < 99")


@pytest.mark.parametrize(("loss", "passes"), [(0.8, True), (0.81, False)])
def test_the_loss_on_target_tokens_must_be_a_fifth_lower(
    monkeypatch: pytest.MonkeyPatch, loss: float, passes: bool
) -> None:
    fake(monkeypatch, lambda task, method, init: loss if init == "pretrained" else 1.0)
    found = named(gates.generation(CFG))
    assert {found[f"{task}: ratio"].passed for task in ("e2e", "webnlg", "samsum")} == {passes}
    assert {found[f"{task}: ratio"].limits for task in ("dart", "wikisql")} == {"-"}  # timed, nothing is asked


@pytest.mark.parametrize(("seconds", "ready", "passes"), [(30.0, 10.0, True), (31.0, 10.0, False), (1.0, None, False)])
def test_a_run_takes_40_seconds_at_most_with_making_and_loading_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, seconds: float, ready: float | None, passes: bool
) -> None:
    fake(monkeypatch, lambda task, method, init: 1.0, seconds, ready)
    assert named(gates.generation(CFG))["slowest run, seconds"].passed == passes


@pytest.mark.parametrize("score", ["failed", None])
def test_a_run_without_a_score_fails_its_own_gates_and_hides_no_other(
    monkeypatch: pytest.MonkeyPatch, score: Any
) -> None:
    fake(monkeypatch, lambda task, method, init:
         score if (task, method, init) == ("rte", "lora", "random") else 60.0 + 20 * (init == "pretrained"))
    found = gates.understanding(CFG)
    assert [gate.name for gate in found if not gate.passed] == ["rte: lora from random weights"]
    assert named(found)["tasks where lora gains 15 points"].value == 7
    assert len(found) == 8 * 5 + 6 + 3  # six tasks are of pairs


@pytest.mark.parametrize(("scored", "expected"), [
    ({"1e-4": (50.0, "collapsed"), "3e-4": (61.0, "done"), "1e-3": (55.0, "done")}, (61.0, "")),
    ({"1e-4": (50.0, "collapsed"), "3e-4": (49.0, "done")}, (50.0, " (collapsed)")),  # one of three failed
])
def test_from_random_weights_the_best_of_three_rates_counts_and_a_collapse_is_said(
    scored: dict[str, tuple[float, str]], expected: tuple[float, str]
) -> None:
    runs: Any = {gates.Key("rte", "ft", rate): SimpleNamespace(score=score, status=status)
                 for rate, (score, status) in scored.items()}
    runs |= {gates.Key("rte", "ft", None): SimpleNamespace(score=90.0, status="done"),
             gates.Key("sst2", "ft", "1e-4"): SimpleNamespace(score=99.0, status="done"),
             gates.Key("rte", "lora", "1e-3"): SimpleNamespace(score=99.0, status="done")}
    assert gates.scores(runs, "rte", "ft", max) == (90.0, *expected)
    assert gates.scores(runs, "rte", "ft", min)[1] == min(score for score, _ in scored.values())


def test_a_run_whose_rows_another_had_made_counts_the_longest_wait_for_its_task() -> None:
    runs: Any = {gates.Key(task, method, None): SimpleNamespace(ready_seconds=ready, seconds=busy)
                 for task, method, ready, busy in (("qnli", "ft", 9.0, 20.0), ("qnli", "lora", 0.5, 25.0),
                                                   ("rte", "ft", 12.0, 1.0))}
    assert gates.slowest(runs).value == 9.0 + 25.0


def test_runs_that_are_not_of_what_ships_stay_out_of_the_committed_results(checking: Callable[..., DictConfig]) -> None:
    def place(*overrides: str) -> Path:
        return gates.store_folder(checking("model=gpt2-nano", "output=here", *overrides))

    assert place().resolve() == place("world.seed=1").resolve() == gates.STORE
    assert place("model.path=elsewhere") == place("world.people=24") == Path("here/gates")


def trained(monkeypatch: pytest.MonkeyPatch, cfg: DictConfig) -> dict[tuple[str, ...], DictConfig]:
    """The config of each run that the gates of `cfg` would train, by (task, method, init)."""
    found: dict[tuple[str, ...], DictConfig] = {}

    def composed(runs: list[Run], jobs: int) -> Iterable[tuple[str, str]]:
        with train_configs() as compose:
            found.update({(made.task.name, made.method.name, made.model.init): made
                          for made in (compose(list(run.overrides)) for run in runs)})
        return [("all", "only looked at")]

    monkeypatch.setattr(gates, "train_apart", composed)
    # the model has no files
    monkeypatch.setattr(gates, "planned_run", lambda cfg, lines: Run(cfg.model.init, 0, tuple(lines)))
    assert gates.finished(cfg, ("rte",), ("ft",)) == {}
    return found


@pytest.fixture
def checking(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., DictConfig]]:
    """From overrides to the config of `pretrain check=true` as hydra gives it to the entry point."""
    before = HydraConfig.instance().cfg

    def configured(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(CONF), version_base=None):
            cfg = compose("pretrain", list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        OmegaConf.set_struct(cfg, False)
        del cfg["hydra"]
        return cfg

    yield configured
    HydraConfig.instance().cfg = before


def test_the_weights_that_are_checked_are_the_ones_fine_tuned(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checking: Callable[..., DictConfig]
) -> None:
    cfg = checking("model=gpt2-nano", "model.path=${output}/other", "model.attention=sdpa", "world.people=24",
                   "output=somewhere/below", "tokens=5")
    monkeypatch.chdir(tmp_path)
    runs = trained(monkeypatch, cfg)
    assert set(runs) == {("rte-nano", "ft", init) for init in ("pretrained", "random")}
    for made in runs.values():
        assert (made.model.path, made.model.pinned) == ("somewhere/below/other", "results/nano/pretrained/gpt2-nano")
        assert made.store == "somewhere/below/gates"
        assert (made.model.attention, made.model.config.n_embd) == ("sdpa", cfg.model.config.n_embd)
        assert (made.task.source.world.people, made.task.source.world.seed) == (24, 1)


def test_the_pinned_path_and_the_world_as_it_is_keep_the_names_of_the_runs(checking: Callable[..., DictConfig]) -> None:
    pinned = "model.path=results/nano/pretrained/roberta-nano"
    plain = ["model=roberta-nano", "task=rte-nano", "method=ft", "preset=nano", "model.init=random"]
    commands = [gates._overrides(checking("model=roberta-nano", *overrides), gates.Key("rte", "ft", "1e-3"))
                for overrides in ([], [pinned], ["world.seed=1"], ["world.seed=2"])]
    with train_configs() as compose:
        names = [run_name(compose(command)) for command in (plain, *commands)]
    assert names[:4] == names[:1] * 4
    assert names[4] != names[0]


def test_the_task_whose_chance_is_asked_is_of_the_world_that_is_checked(checking: Callable[..., DictConfig]) -> None:
    assert gates.composed(checking("world.seed=3"), "rte").task.source.world.seed == 3


def test_outside_of_hydra_the_model_is_that_of_its_name() -> None:
    cfg = OmegaConf.create({"model": {"name": "roberta-nano", "path": "here/it is", "pinned": "there"}})
    assert gates._model(cfg) == ["model=roberta-nano", "model.path='here/it is'"]


def test_chance_is_the_share_of_the_most_frequent_answer() -> None:
    rows = {"a": [0, 1, 1, 1], "b": [0, 0, 1, 1]}

    class Split(dict[str, list[int]]):
        def __len__(self) -> int:
            return 4

    task: Any = SimpleNamespace(main_metric="accuracy", label="label", evaluation_splits=["a", "b"],
                                split=lambda split: Split(label=rows[split]))
    assert gates.chance(task) == 100 * (0.75 + 0.5) / 2
    assert gates.chance(SimpleNamespace(main_metric="matthews")) == 0
