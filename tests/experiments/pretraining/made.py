"""A world of a dozen words to pre-train on in seconds: colours that belong to things."""

import random
from collections.abc import Iterator
from typing import NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf
from transformers import AutoConfig

from experiments.pretraining import train as pretraining
from experiments.pretraining.language import CorpusSource, Language
from experiments.pretraining.loop import new_model
from experiments.store.paths import CONF

COLOURS = {"bird": "red", "fish": "blue", "tree": "green", "boat": "white"}
WORDS = [*COLOURS, *COLOURS.values(), "the", "is", "a", "yes", "no", ".", "?", "|"]


class Document(NamedTuple):
    kind: str
    segments: tuple[str, ...]


class Probe(NamedTuple):
    text: str
    answer: str
    candidates: tuple[str, ...]


def documents(seed: int, held_out: bool, stage: int) -> Iterator[Document]:
    draw = random.Random(f"{seed} {held_out} {stage}")
    while True:
        sentences = [f"the {noun} is {COLOURS[noun]} ." for noun in draw.choices(list(COLOURS), k=draw.randint(1, 3))]
        if draw.random() < 0.5:
            yield Document("facts", (" ".join(sentences),))
        else:
            noun, colour = draw.choice(list(COLOURS)), draw.choice(list(COLOURS.values()))
            yield Document("question", (f"is the {noun} {colour} ?", "yes ." if COLOURS[noun] == colour else "no ."))


def probes(count: int) -> dict[str, list[Probe]]:
    colours = tuple(COLOURS.values())
    asked = [Probe(f"the {noun} is <mask> .", colour, colours) for noun, colour in COLOURS.items()]
    return {"class": asked[:count], "polarity": [Probe("is <mask> bird red ?", "the", ("the", "yes"))][:count]}


def source() -> CorpusSource:
    return CorpusSource(WORDS, frozenset({"the", "is", "a"}), frozenset({"yes", "no"}), documents, probes, stages=3)


SHAPES = {
    "roberta-nano": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
    "deberta-nano": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
    "gpt2-nano": {"n_embd": 16, "n_layer": 1, "n_head": 2},
}


def config(output: object, model: str = "roberta-nano", **changes: object) -> DictConfig:
    """conf/pretrain.yaml on the world above with a model of one layer, a minute's budget cut to a second's."""
    cfg = OmegaConf.load(CONF / "pretrain.yaml")
    assert isinstance(cfg, DictConfig)
    del cfg["defaults"]
    cfg.model, cfg.world = OmegaConf.load(CONF / "model" / f"{model}.yaml"), {}
    cfg.model.config.update(SHAPES.get(model, {}) | {"vocab_size": 24})
    small = {"tokens": 4000, "batch_size": 8, "held_out_documents": 24, "evaluate_every": 1500, "probe_count": 4,
             "checkpoint_every": 1000, "precision": "fp32", "attention": "eager", "learning_rate": 1e-2,
             "output": str(output)}
    for key, value in (small | changes).items():
        OmegaConf.update(cfg, key, value)
    return cfg


def language(model: str = "roberta-nano") -> Language:
    """The corpus above for a model of this shape."""
    return pretraining.make_language(config("", model), source())


def fresh(model: str, seed: int = 0):
    """A network of this shape with random weights."""
    torch.manual_seed(seed)
    return new_model(AutoConfig.for_model(**pretraining.run_config(config("", model))["model"]["config"]), "eager", 0.0)
