"""The race gives PEFT the same work, and its command leaves a record."""

import json
import sys
from pathlib import Path

import pytest
from hydra.utils import instantiate

from experiments.measure import epoch as race
from experiments.measure.peers import peft_config
from experiments.models.load import load_model
from lora.sites import head_modules
from tests.experiments.made import compose

peft = pytest.importorskip("peft")


def test_the_command_writes_its_record(tiny_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "new" / "race.json"
    monkeypatch.setattr(sys, "argv", ["race", *tiny_run, "rows=32", "rounds=1", f"output={output}"])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    race.main()
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert record == json.loads(output.read_text())
    assert set(record) == {"variants", "model", "task", "rows", "rounds", "batch_size", "threads", "device", "versions"}
    assert (record["rows"], record["rounds"], record["threads"]) == (32, 1, 1)
    assert set(record["variants"]) == set(race.VARIANTS)
    assert all(set(row) == {"seconds", "over_peft_trainer"} for row in record["variants"].values())
    assert all(value > 0 for row in record["variants"].values() for value in row.values())
    assert record["variants"][race.THEIRS]["over_peft_trainer"] == 1.0
    assert list((tmp_path / "scratch").iterdir()) == []


def test_both_train_the_same_matrices_of_the_methods_targets(tiny_run: list[str], tmp_path: Path) -> None:
    cfg = compose(*tiny_run, "method.targets=[k,fc1]", "method.dropout=0.1", config="race")
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
    cfg = compose(*tiny_run, override, config="race")
    task = instantiate(cfg.task)
    with pytest.raises(ValueError, match=message):
        peft_config(load_model(cfg.model, task.kind, task.num_labels, task.labels), cfg)
