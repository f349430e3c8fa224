"""Many configs of one command: what is put together is what Hydra composes."""

import re
from itertools import product
from pathlib import Path

import pytest
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf

from experiments.config.compose import Compose, ManyConfigs, configs, train_configs
from experiments.config.search_path import searching
from experiments.store.paths import CONF
from tests.experiments import made


class Counted:
    """Hydra's composition, counted."""

    def __init__(self, compose: Compose) -> None:
        self.compose = compose
        self.calls: list[list[str]] = []

    def __call__(self, overrides: list[str]) -> DictConfig:
        self.calls.append(overrides)
        return self.compose(overrides)


def unresolved(cfg: DictConfig) -> dict:
    return OmegaConf.to_container(cfg)


def resolved(cfg: DictConfig) -> dict:
    return OmegaConf.to_container(cfg, resolve=True)


MODELS = ["roberta-nano", "gpt2-nano", "roberta-base", "minilm"]
TASKS = ["rte-nano", "rte", "stsb-nano"]
METHODS = ["lora", "ft", "adapter_h", "prefix_layer", "lora+prefix_embed"]
KEYS = ["preset=null", "store='a b,c'", "trainer.betas=[0.5,0.9]", "trainer.learning_rate=3e-4", "seed=3"]


@pytest.mark.parametrize("keys", [[], KEYS], ids=["as they are", "with keys"])
def test_what_is_put_together_is_what_hydra_composes(keys: list[str]) -> None:
    with configs("train") as hydra:
        many = ManyConfigs(counted := Counted(hydra))
        cells = [[f"model={model}", f"task={task}", f"method={method}", *keys]
                 for model, task, method in product(MODELS, TASKS, METHODS)]
        put_together = [many(cell) for cell in cells]
        assert len(counted.calls) <= len(MODELS) + len(TASKS) + len(METHODS) - 2  # the first has one of each
        for cell, cfg in list(zip(cells, put_together, strict=True))[::7]:
            expected = hydra(cell)
            assert unresolved(cfg) == unresolved(expected)
            assert OmegaConf.is_struct(cfg)
            if keys:  # without a preset every key has a value
                assert resolved(cfg) == resolved(expected)


def test_groups_that_are_not_chosen_have_their_defaults() -> None:
    with configs("train") as hydra:
        many = ManyConfigs(counted := Counted(hydra))
        for cell in ([], ["model=gpt2-nano"], ["method=ft"], ["model=gpt2-nano", "method=ft"], ["task=rte", "seed=1"]):
            assert unresolved(many(cell)) == unresolved(hydra(cell))
        assert len(counted.calls) == 4


def test_what_is_learnt_at_once_is_composed_once() -> None:
    with configs("train") as hydra:
        many = ManyConfigs(counted := Counted(hydra))
        cells = [[f"model={model}", f"task={task}", f"method={method}"]
                 for model, task, method in product(MODELS, TASKS, METHODS)]
        many.learn(cells)
        made = [many(cell) for cell in cells]
        assert len(counted.calls) == 1
        for cell, cfg in list(zip(cells, made, strict=True))[::7]:
            assert unresolved(cfg) == unresolved(hydra(cell))


PRESETS = [
    ["model=roberta-nano", "task=rte-nano", "method=lora", "preset=nano"],
    ["model=roberta-nano", "task=sst2-nano", "method=ft_top2", "preset=default"],           # a name of ${.blocks}
    ["model=roberta-base", "task=rte", "method=lora", "preset=authors"],
    ["model=deberta-v2-xxlarge", "task=cola", "method=lora", "preset=authors"],             # a value of the model's
    ["model=minilm", "task=mrpc", "method=lora", "preset=minilm", "method.rank=4"],         # a row of this rank
    ["model=minilm", "task=mrpc", "method=adapter_h", "preset=minilm", "method.bottleneck=7"],
    ["model=roberta-nano", "task=rte-nano", "method=lora", "preset=nano", "model.path=/mine/own"],  # not the pinned one
    ["model=roberta-nano", "task=rte-nano", "method=lora", "preset=null", "trainer.betas=[0.5,0.9]"],
    ["model=roberta-nano", "task=rte-nano", "method=lora+prefix_embed", "preset=default", "trainer.threads=2"],
]


@pytest.mark.parametrize("cell", PRESETS, ids=" ".join)
def test_a_config_is_resolved_as_omegaconf_resolves_it(cell: list[str]) -> None:
    with configs("train") as hydra:
        many = ManyConfigs(hydra)
        expected = resolved(hydra(cell))
        assert many.plain(cell) == expected
        assert many.resolved(unresolved(hydra(cell))) == expected


@pytest.mark.parametrize("line", [
    "preset='${oc.select:model.preset,default}'", "store='${oc.env:HOME}'", "method.rank='${trainer.batch_size}'",
    "method.alpha='${preset:method.alpha,${seed}}'", "trainer.epochs='${preset:trainer.epochs,3}0'",
    "method.dropout='${.alpha}0'", "trainer.warmup_steps='???'", "task=docstrings"])
def test_a_config_with_other_interpolations_is_resolved_by_omegaconf(line: str) -> None:
    cell = ["model=roberta-nano", "task=rte-nano", "method=lora", "preset=nano", line]
    with configs("train") as hydra:
        many = ManyConfigs(hydra)
        assert many.plain(cell) == resolved(hydra(cell))


def test_the_row_of_a_preset_that_is_not_there_is_named() -> None:
    cell = ["model=roberta-nano", "task=rte-nano", "method=pissa", "preset=authors"]
    with configs("train") as hydra, pytest.raises(ValueError, match="has no row for model 'roberta-nano', method 'pis"):
        ManyConfigs(hydra).plain(cell)


def test_a_config_is_its_own() -> None:
    cell = ["model=roberta-nano", "task=rte-nano", "method=lora"]
    with configs("train") as hydra:
        many = ManyConfigs(hydra)
        first = many(cell)
        first.method.rank, first.seed = 77, 5
        assert unresolved(many(cell)) == unresolved(hydra(cell))


@pytest.mark.parametrize("line", ["+method.mine=1", "~method.rank", "trainer=default"])
def test_other_overrides_are_composed_by_hydra(line: str) -> None:
    cell = ["model=roberta-nano", "task=rte-nano", "method=lora", line]
    with configs("train") as hydra:
        many = ManyConfigs(hydra)
        many(cell[:3])
        assert unresolved(many(cell)) == unresolved(hydra(cell))


@pytest.mark.parametrize("line", ["method.parts={a:1}", "methods=ft"])
def test_a_key_that_is_not_there_is_refused_by_hydra(line: str) -> None:
    with configs("train") as hydra:
        many = ManyConfigs(hydra)
        many(["model=roberta-nano", "task=rte-nano", "method=lora"])
        with pytest.raises(ConfigCompositionException, match=line.partition("=")[0].rpartition(".")[2]):
            many(["model=roberta-nano", "task=rte-nano", "method=lora", line])


def test_a_folder_whose_choice_changes_another_group_is_composed_by_hydra(tmp_path: Path) -> None:
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "other_rows.yaml").write_text("""# @package _global_
method: {_target_: lora.BitFit, name: other_rows}
task: {evaluate_on: development}
""")
    with searching([tmp_path]), train_configs() as compose:
        for method, rows in (("lora", "validation"), ("other_rows", "development")) * 2:
            cfg = compose(["model=roberta-nano", "task=rte-nano", f"method={method}"])
            assert (cfg.method.name, cfg.task.evaluate_on) == (method, rows)


@pytest.mark.parametrize(("config", "overrides"), [
    ("paper", ["artifact=table2", "suite=minilm", "seeds=[3]", "store=a b"]),
    ("paper", ["suite=minilm", "suite.seeds=[one]", "artifact=figure3", "+suite.seed=[1]"]),
    ("latency", ["model=gpt2", "model.config.n_embd=16", "trials=6", "table=[[1,128]]", "widths.many={lora: 2}"]),
    ("report", ["adapter=mine", "alpha=3"]),
])
def test_what_tests_compose_is_what_hydra_composes(config: str, overrides: list[str]) -> None:
    with configs(config) as hydra:
        expected = hydra(overrides)
    for _ in range(2):
        cfg = made.compose(*overrides, config=config)
        assert unresolved(cfg) == unresolved(expected)
        assert OmegaConf.is_struct(cfg)
        for key in cfg:
            cfg[key] = None  # what a test does to its config is its own


def test_no_shipped_choice_changes_another_group() -> None:
    files = [file for group in ("model", "task", "method") for file in (CONF / group).rglob("*.yaml")]
    assert len(files) > 50
    assert not [file for file in files if re.search("@package|_global_|override", file.read_text())]
