"""AdapterP: one bottleneck a block, after the MLP's LayerNorm (Pfeiffer et al. 2021; section 5.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from lora.methods.bottleneck import Bottleneck, BottleneckMethod
from lora.sites import find_places


class AroundNorm(Bottleneck):
    """Its host LN gives LN(z + adapter(LN(z))) in place of LN(z)."""

    repeatable = False  # a second would not see what the first adds

    def after(self, host: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        (z,) = args
        return host.forward(z + self(output))


@dataclass(frozen=True, kw_only=True)
class AdapterP(BottleneckMethod):
    """A bottleneck that reads the MLP sub-layer's LayerNorm and adds to what that LayerNorm reads.

    This is AdapterHub's configuration of Pfeiffer et al., and the authors' code: with F the MLP's output, dropout
    included, and x its residual, LN(x + F + adapter(LN(x + F))) stands for LN(x + F); both LN are the frozen one.
    GPT-2 has no LayerNorm there, and x + F + adapter(x + F) stands for its block's output x + F, as in AdapterHub.
    """

    def inject(self, model: nn.Module, adapter: str, heads: Sequence[str]) -> None:
        self.put_from(model, adapter, 0)

    def put_from(self, model: nn.Module, adapter: str, first: int) -> None:
        """The bottlenecks of block `first`, counted from 0, and of those after it."""
        norms, blocks = find_places(model, "mlp_norm"), find_places(model, "block")
        if norms:
            self.put(model, adapter, norms[first:], AroundNorm)
        else:
            self.put(model, adapter, blocks[first:])
