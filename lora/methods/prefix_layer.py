"""Prefix-layer tuning: after the embedding layer and every block, the activations at the added positions are replaced
by trained ones (section 5.1).

|Theta| = L x d_model x (l_p + l_i): one set of vectors enters each of the L blocks. The last block's output at the
added positions is dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lora.bank import disabled
from lora.injected import inject
from lora.layer import wide
from lora.methods.prefix_embed import PrefixEmbed
from lora.positions import AddedPositions, ReplacedActivations, add_positions, block_entries


@dataclass(frozen=True, kw_only=True)
class PrefixLayer(PrefixEmbed):
    """Extends prefix-embedding tuning; with init=words each vector starts as a random word's activation there."""

    def inject(self, model: nn.Module, adapter: str, heads: Sequence[str]) -> None:
        assert isinstance(model, PreTrainedModel)
        positions = AddedPositions(self.l_p, self.l_i, None, self.find_end(model, heads))
        starts = self.starts(model, block_entries(model))
        add_positions(model, adapter, positions)
        for place, vectors in starts.items():
            inject(model, place, adapter, ReplacedActivations(vectors, positions.current))

    @torch.no_grad()
    def starts(self, model: PreTrainedModel, entries: list[str]) -> dict[str, Tensor]:
        """The initial vectors of each block, (l_p + l_i, d) by place, in fp32 or wider."""
        if self.init == "words" and self.positions() and model.device.type != "meta":
            return {place: wide(vectors) for place, vectors in self._activations(model, entries).items()}
        return {place: self.start(model) for place in entries}

    def _activations(self, model: PreTrainedModel, entries: list[str]) -> dict[str, Tensor]:
        """Hidden states of random words where they enter each block of the base model."""
        entering: dict[str, Tensor] = {}

        def keep(place: str) -> object:
            def hook(_: nn.Module, args: tuple[Tensor, ...]) -> None:
                entering[place] = args[0][0].clone()  # (1, l_p + l_i, d) -> (l_p + l_i, d)
            return model.get_submodule(place).register_forward_pre_hook(hook)

        training, words = model.training, self.random_words(model)
        hooks = [keep(place) for place in entries]
        try:
            with disabled(model):
                model.eval().base_model(input_ids=words[None], attention_mask=torch.ones_like(words[None]))
        finally:
            model.train(training)
            for hook in hooks:
                hook.remove()  # type: ignore[attr-defined]
        return entering
