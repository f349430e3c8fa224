"""Counts equal the arithmetic of the paper's configurations, without any weights."""

import csv
import functools
import re
from collections.abc import Iterator

import pytest
import torch
from hydra import compose, initialize_config_dir
from transformers import PreTrainedModel

import experiments.presets  # noqa: F401  (registers the resolver that conf/model uses)
from experiments.models import empty_model
from lora import BitFit, FullFineTuning, Method, delete
from lora.count import Counts, count
from tests.conftest import ROOT
from tests.lora.tiny import lora, tiny


@pytest.fixture(autouse=True)
def _fresh_models() -> Iterator[None]:
    yield
    meta_model.cache_clear()


MODELS = {"deberta-xxl": "deberta-v2-xxlarge", "gpt3": "gpt3-175b"}  # the csv's name of a conf/model file


@functools.cache
def meta_model(name: str) -> PreTrainedModel:
    """The architecture of a conf/model file with two labels, or GPT's language model."""
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        cfg = compose(overrides=[f"+model={name}", "model.init=random"]).model
    return empty_model(cfg, "causal_lm" if name.startswith("gpt") else "classification", 2)


def counted(row: dict[str, str]) -> int:
    """What the row's params_exact counts: with `ft` the head too, else the adaptation alone."""
    name = MODELS.get(row["model"], row["model"])
    if row["method"] == "ft":  # keeps no base: a model of its own
        counts = count(meta_model.__wrapped__(name), FullFineTuning(name="ft"), "train")
        assert counts.trainable + counts.head == counts.total
        return counts.total
    model = meta_model(name)
    method: Method = BitFit(name="bitfit")
    if row["method"] == "lora":
        targets = re.findall(r"\b[qkvo]\b", row["setting"])
        method = lora(targets=targets, rank=int(re.search(r"r=(\d+)", row["setting"])[1]))  # type: ignore[index]
    trainable = count(model, method, "train").trainable
    delete(model, "default")
    return trainable


def test_every_ft_bitfit_and_lora_row_equals_the_arithmetic() -> None:
    # a copy of the reference data: test_presets compares the two
    with (ROOT / "conf" / "paper" / "parameter_counts.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["method"] in ("ft", "bitfit", "lora")]
    assert len(rows) == 30
    assert {(row["model"], row["setting"]): counted(row) for row in rows} == {
        (row["model"], row["setting"]): int(row["params_exact"]) for row in rows}


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
