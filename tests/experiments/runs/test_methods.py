"""Every method of conf/method through experiments.train: the trainer, the tasks and the losses know nothing of it."""

from pathlib import Path

import pytest
from omegaconf import DictConfig
from safetensors.torch import load_file

from experiments.runs.execute import run
from experiments.store.store import RunRecord
from lora.adapter_file import adapter_tensors
from tests.experiments.made import adapted, compose
from tests.experiments.runs.made import COUNTS, METHODS, overrides


def unmoved(cfg: DictConfig, record: RunRecord) -> list[str]:
    """What of a run's adapter is as it was before its first step."""
    started = adapter_tensors(adapted(cfg)[0])
    ended = load_file(Path(cfg.store) / str(record.adapter) / "adapter.safetensors")
    assert started.keys() == ended.keys()
    return [name for name, tensor in started.items() if tensor.equal(ended[name])]


@pytest.mark.parametrize("word", METHODS)
def test_bert_is_trained_to_classify(tiny_run: list[str], word: str) -> None:
    cfg = compose(*overrides(tiny_run, word), "trainer.max_length=64", "trainer.epochs=1")
    record = run(cfg)
    assert record.finished_well
    assert unmoved(cfg, record) == []
    if word in COUNTS:
        assert record.trainable == COUNTS[word]
        assert record.merge_error == {}  # evaluated unmerged


@pytest.mark.parametrize("model", ["roberta-nano", "deberta-nano"])
@pytest.mark.parametrize("word", METHODS)
def test_shipped_encoders_are_trained_to_classify(tiny_run: list[str], word: str, model: str) -> None:
    lines = [line for line in tiny_run if not line.startswith("model")]
    cfg = compose(*overrides(lines, word), f"model={model}", "trainer.max_length=64", "trainer.epochs=1")
    record = run(cfg)
    assert record.finished_well
    assert unmoved(cfg, record) == []


@pytest.mark.parametrize("word", METHODS)
def test_gpt2_is_trained_to_write_after_its_separator(tiny_language_run: list[str], word: str) -> None:
    cfg = compose(*overrides(tiny_language_run, word), "trainer.epochs=1")
    record = run(cfg)
    assert (record.status, record.head) == ("done", 0)
    assert unmoved(cfg, record) == []


def test_inputs_that_leave_no_positions_for_a_prefix_are_refused_with_what_is_left(
    tiny_run: list[str]
) -> None:
    with pytest.raises(ValueError, match="128 and the 6 positions of prefix_embed are above the model's 128: 122 are"):
        run(compose(*overrides(tiny_run, "prefix_embed"), "trainer.max_length=128"))
    run(compose(*overrides(tiny_run, "prefix_embed"), "trainer.max_length=122", "trainer.epochs=1"))
