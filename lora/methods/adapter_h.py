"""AdapterH: two bottlenecks a block (Houlsby et al. 2019; section 5.1)."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from lora.methods.bottleneck import BottleneckMethod
from lora.sites import find_places


@dataclass(frozen=True, kw_only=True)
class AdapterH(BottleneckMethod):
    """One bottleneck after attention, one after the MLP, each on the sub-layer's output before its residual.

    With F a sub-layer, dropout included, and x its input: x + F + adapter(F) stands for x + F, under the LayerNorm
    that follows in BERT, RoBERTa and DeBERTa, and with F = F(LN(x)) in GPT-2.
    """

    def inject(self, model: nn.Module, adapter: str, heads: Sequence[str]) -> None:
        self.put(model, adapter, [*find_places(model, "attention"), *find_places(model, "mlp")])
