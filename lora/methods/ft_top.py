"""FT-Top: full fine-tuning of the last blocks alone (Li & Liang 2021; the paper's FT-Top2, section 5.1)."""

from dataclasses import dataclass

from torch import nn

from lora.errors import check_whole
from lora.methods.base import Method
from lora.sites import find_places


@dataclass(frozen=True, kw_only=True)
class TopBlocks(Method):
    """Every parameter of the last `blocks` blocks trains in place; what follows the blocks (GPT-2's ln_f) does not."""

    blocks: int

    def __post_init__(self) -> None:
        check_whole("blocks", self.blocks, 1)

    def in_place(self, model: nn.Module, body: dict[str, nn.Parameter]) -> list[str]:
        places = find_places(model, "block")
        if self.blocks > len(places):
            raise ValueError(f"blocks {self.blocks} is not in 1..{len(places)}, the blocks of this model")
        last = tuple(f"{place}." for place in places[-self.blocks:])
        return [name for name in body if name.startswith(last)]
