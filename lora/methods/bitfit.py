"""BitFit: every bias of the body trains and nothing else (Zaken et al. 2021; section 5.1)."""

from dataclasses import dataclass

from torch import nn

from lora.methods.base import Method


@dataclass(frozen=True, kw_only=True)
class BitFit(Method):
    """All bias vectors train in place, those of LayerNorms among them."""

    def in_place(self, model: nn.Module, body: dict[str, nn.Parameter]) -> list[str]:
        chosen = [name for name in body if name.rpartition(".")[2].endswith("bias")]
        if not chosen:
            raise ValueError(f"bitfit: this {model.config.model_type} model has no biases to train")  # type: ignore[union-attr]
        return chosen
