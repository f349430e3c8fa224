"""Full fine-tuning: every weight of the body trains (the paper's baseline, section 5.1)."""

from dataclasses import dataclass

from torch import nn

from lora.methods.base import Method


@dataclass(frozen=True, kw_only=True)
class FullFineTuning(Method):
    """Every base parameter trains in place. The base is not kept, so the adapter cannot be switched off."""

    def in_place(self, model: nn.Module, body: dict[str, nn.Parameter]) -> list[str]:
        return list(body)

    def keeps_base(self) -> bool:
        return False
