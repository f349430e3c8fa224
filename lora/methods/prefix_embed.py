"""Prefix-embedding tuning: word embeddings of special tokens around the input train, nothing else (section 5.1).

|Theta| = d_model x (l_p + l_i). Where the positions are, and how the rest of the model stays right: lora.positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lora.errors import check_choice, check_whole
from lora.layer import wide
from lora.limits import check_positions
from lora.methods.base import Method
from lora.positions import (
    CAUSAL,
    AddedPositions,
    BeforePooled,
    BeforeSeparator,
    FindEnd,
    add_positions,
    after_last,
    separator_of,
)
from lora.sites import BLOCKS

INITS = ("words", "gaussian")


@dataclass(frozen=True, kw_only=True)
class PrefixEmbed(Method):
    """l_p embeddings before the input and l_i after it.

    `init` is their start: embeddings of random words of the vocabulary, or random numbers. `separator` is
    the token before which the infix of a causal language model stands, between prompt and target.
    """

    l_p: int
    l_i: int
    init: str
    separator: int | None  # null: the model's beginning- or end-of-text token, as tasks have it

    def __post_init__(self) -> None:
        check_choice("init", self.init, INITS)
        check_whole("l_p", self.l_p, 0)
        check_whole("l_i", self.l_i, 0)
        if self.separator is not None:
            check_whole("separator", self.separator, 0)

    def inject(self, model: nn.Module, adapter: str, heads: Sequence[str]) -> None:
        assert isinstance(model, PreTrainedModel)
        find_end = self.find_end(model, heads)
        add_positions(model, adapter, AddedPositions(self.l_p, self.l_i, self.start(model), find_end))

    @torch.no_grad()
    def start(self, model: PreTrainedModel) -> Tensor:
        """The embeddings at the start, (l_p + l_i, d), in fp32 or wider."""
        words = word_embeddings(model)
        if self.init == "words":
            return wide(words[self.random_words(model)])
        std = model.config.initializer_range  # that of the model's own embeddings
        return wide(words.new_empty(self.positions(), words.shape[1])).normal_(std=std)

    def random_words(self, model: PreTrainedModel) -> Tensor:
        """Random tokens of the vocabulary, (l_p + l_i,)."""
        words = word_embeddings(model)
        return torch.randint(len(words), (self.positions(),), device=words.device)

    def find_end(self, model: PreTrainedModel, heads: Sequence[str]) -> FindEnd:
        """The place of the infix in this kind of model; ValueError for one that cannot have these positions."""
        config = model.config
        check_choice(f"architecture for {self.name}", config.model_type, BLOCKS)
        if getattr(config, "is_decoder", False) and config.model_type not in CAUSAL:
            raise ValueError(f"{self.name}: a {config.model_type} with is_decoder=True is not supported")
        check_positions(config, f"{self.name}: an input of", 1, self.positions(), f"l_p {self.l_p} and l_i {self.l_i}")
        if config.model_type not in CAUSAL:
            return after_last
        if heads or not self.l_i:  # nothing depends on where an infix of no length is
            return BeforePooled(config.pad_token_id)
        separator = separator_of(config) if self.separator is None else self.separator
        if separator is None:
            raise ValueError(f"{self.name}: the model has no beginning- or end-of-text token: name by "
                             "method.separator the token before which the infix stands, or take l_i=0")
        return BeforeSeparator(separator)

    def resolved(self, model: nn.Module, heads: Sequence[str]) -> Method:
        assert isinstance(model, PreTrainedModel)
        end = self.find_end(model, heads)
        return replace(self, separator=end.separator) if isinstance(end, BeforeSeparator) else self

    def separators(self) -> dict[str, int]:
        return {} if self.separator is None or not self.l_i else {"separator": self.separator}

    def positions(self) -> int:
        return self.l_p + self.l_i

    def merge_refusal(self) -> str:
        return (f"{self.name} cannot be merged: its vectors stand at positions of their own, which no weight of the "
                "model holds")

    def route_refusal(self) -> str:
        return f"{self.name} cannot be routed: rows of one batch would have different lengths"


def word_embeddings(model: PreTrainedModel) -> Tensor:
    """The model's embedding table, (vocabulary size, d)."""
    return model.get_input_embeddings().weight  # type: ignore[return-value]
