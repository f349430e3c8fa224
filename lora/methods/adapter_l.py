"""AdapterL: one bottleneck a block, with a LayerNorm of its own (Lin et al. 2020; section 5.1)."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from lora.methods.bottleneck import BottleneckMethod
from lora.sites import find_places


@dataclass(frozen=True, kw_only=True)
class AdapterL(BottleneckMethod):
    """A bottleneck behind each block, after its MLP: h + W_up f(W_down LN(h)) stands for the block's output h.

    In GPT-2 h is the residual stream with the MLP's output in it; in BERT, RoBERTa and DeBERTa it has passed the
    block's last LayerNorm.
    """

    def inject(self, model: nn.Module, adapter: str, heads: Sequence[str]) -> None:
        self.put(model, adapter, find_places(model, "block"), norm=True)
