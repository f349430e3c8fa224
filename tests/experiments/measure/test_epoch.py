"""PEFT with transformers.Trainer is given the same work as this trainer."""

import tempfile
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig

from experiments.measure import epoch
from experiments.measure.peers import peft_config
from experiments.models.load import load_model
from lora.sites import head_modules
from tests.experiments.made import compose

peft = pytest.importorskip("peft")


def config(*words: str) -> DictConfig:
    return compose("benchmark=epoch", *words, config="benchmark")


def test_every_variant_trains_an_epoch_and_leaves_no_file(tiny_run: list[str], tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    record = epoch.epoch_benchmark(config(*tiny_run, "rows=32", "rounds=1"))
    assert (record.settings["rows"], record.rounds, record.threads) == (32, 1, 1)
    assert list(record.variants) == list(epoch.VARIANTS)
    assert all(value > 0 for row in record.variants.values() for value in row.values())
    assert record.variants[epoch.THEIRS]["over_peft_trainer"] == 1.0
    assert list(scratch.iterdir()) == []


def test_both_train_the_same_matrices_of_the_methods_targets(tiny_run: list[str], tmp_path: Path) -> None:
    cfg = config(*tiny_run, "method.targets=[k,fc1]", "method.dropout=0.1")
    task = instantiate(cfg.task)

    def trained(adapt) -> int:
        model = load_model(cfg.model, task.kind, task.num_labels, task.labels)
        return sum(p.numel() for p in adapt(model).parameters() if p.requires_grad)

    def ours(model):
        instantiate(cfg.method).apply(model, pooler=cfg.model.pooler)
        return model

    def theirs(model):
        heads = [name.removeprefix("bert.") for name in head_modules(model, cfg.model.pooler)]
        config = peft_config(model, cfg, modules_to_save=heads)
        assert config.lora_dropout == 0.1
        return peft.get_peft_model(model, config)

    updates = 2 * 4 * ((32 + 32) + (32 + 64))  # layers, rank, (n_in + n_out) of k and of fc1
    assert trained(ours) == trained(theirs) == updates + (32 * 32 + 32) + (2 * 32 + 2)


@pytest.mark.parametrize(("override", "message"), [
    ("method.bias=all", r"method.bias=all is not given to PEFT"),
    ("method.layernorm=true", r"method.layernorm=True is not given to PEFT"),
    ("method.rank={q: 8, v: 4}", r"method.rank by target is not given to PEFT"),
])
def test_an_option_that_peft_would_not_get_is_refused(tiny_run: list[str], override: str, message: str) -> None:
    cfg = config(*tiny_run, override)
    task = instantiate(cfg.task)
    with pytest.raises(ValueError, match=message):
        peft_config(load_model(cfg.model, task.kind, task.num_labels, task.labels), cfg)
