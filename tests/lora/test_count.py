"""Counts equal the arithmetic of the paper's configurations, without any weights."""

import functools
from collections.abc import Iterator

import pytest
import torch
from hydra import compose, initialize_config_dir
from transformers import PreTrainedModel

from experiments.models.load import empty_model
from lora.count import Counts, count
from tests.conftest import ROOT
from tests.lora.tiny import lora, tiny


@pytest.fixture(autouse=True)
def _fresh_models() -> Iterator[None]:
    yield
    meta_model.cache_clear()


@functools.cache
def meta_model(name: str) -> PreTrainedModel:
    """The architecture of a conf/model file with two labels, or GPT's language model."""
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        cfg = compose(overrides=[f"+model={name}", "model.init=random"]).model
    return empty_model(cfg, "causal_lm" if name.startswith("gpt") else "classification", 2)


def test_roberta_large_counts_by_hand() -> None:
    counts = count(meta_model("roberta-large"), lora(rank=8, targets=["q", "v"]), "train")
    trainable, head = 24 * 2 * (8 * 1024 + 1024 * 8), 1024 * 1024 + 1024 + 2 * 1024 + 2
    total = 355_361_794 + trainable  # every weight with the head, and the updates
    assert counts == Counts(total, trainable, head, 100 * trainable / total, 4 * trainable, 2 * trainable)


@pytest.mark.parametrize(("pooler", "head"), [("train", 16 * 16 + 16 + 3 * 16 + 3), ("frozen", 3 * 16 + 3)])
def test_the_pooler_is_counted_where_it_trains(pooler: str, head: int) -> None:
    with torch.device("meta"):
        counts = count(tiny("bert"), lora(), pooler)
    assert (counts.trainable, counts.head) == (2 * 2 * (2 * 16 + 16 * 2), head)


def test_counting_allocates_no_weights() -> None:
    model = meta_model("gpt3-175b")
    count(model, lora(), "train")
    assert {p.device.type for p in model.parameters()} == {"meta"}
