"""AdapterD: AdapterDrop, one bottleneck a block and none in the first blocks (Rücklé et al. 2020; section 5.1)."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from lora.errors import check_whole
from lora.methods.adapter_p import AdapterP
from lora.sites import find_places


@dataclass(frozen=True, kw_only=True)
class AdapterD(AdapterP):
    """AdapterP's bottlenecks without those of the first `dropped_layers` blocks, in training as in inference."""

    dropped_layers: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("dropped_layers", self.dropped_layers, 0)

    def inject(self, model: nn.Module, adapter: str, heads: Sequence[str]) -> None:
        if self.dropped_layers >= (layers := len(find_places(model, "block"))):
            raise ValueError(f"dropped_layers {self.dropped_layers} is not in 0..{layers - 1}: the model has {layers} "
                             "layers, of which one must keep its adapter")
        self.put_from(model, adapter, self.dropped_layers)
