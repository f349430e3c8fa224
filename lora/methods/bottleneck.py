"""The base of the adapters of section 5.1: a bottleneck W_up f(W_down x), added to the output of a place.

Shapes: x (..., n), W_down (r, n), W_up (n, r), both with a bias; r is `bottleneck`, f the `nonlinearity`. With a
LayerNorm of its own the bottleneck reads LN(x).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lora.errors import check_choice, check_number, check_whole
from lora.injected import Injected, inject
from lora.methods.base import Method

NONLINEARITIES = {"relu": nn.ReLU, "gelu": nn.GELU, "swish": nn.SiLU, "tanh": nn.Tanh}
INITS = ("gaussian", "identity")


class Bottleneck(Injected):
    """Adds W_up f(W_down x) to its host's output x, or to the first of several outputs."""

    repeatable = True

    def __init__(self, n: int, method: "BottleneckMethod", like: Tensor, norm: bool = False) -> None:
        super().__init__()
        options: dict[str, Any] = {"device": like.device, "dtype": torch.promote_types(like.dtype, torch.float32)}
        self.norm = nn.LayerNorm(n, **options) if norm else nn.Identity()
        self.down = nn.Linear(n, method.bottleneck, **options)
        self.nonlinearity = NONLINEARITIES[method.nonlinearity]()
        self.up = nn.Linear(method.bottleneck, n, **options)
        for dense in (self.down, self.up):
            nn.init.normal_(dense.weight, std=method.init_std)
            nn.init.zeros_(dense.bias)
        if method.init == "identity":
            nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """W_up f(W_down x) for x (..., n), in the dtype of x."""
        wide = x if torch.is_autocast_enabled(x.device.type) else x.to(self.down.weight.dtype)
        low = self.nonlinearity(self.down(self.norm(wide)))  # (..., r)
        return self.up(low).to(x.dtype)                      # (..., n)

    def after(self, host: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        if isinstance(output, tuple):
            return output[0] + self(output[0]), *output[1:]
        return output + self(output)


@dataclass(frozen=True, kw_only=True)
class BottleneckMethod(Method):
    """Base of the adapters: a subclass says where its bottlenecks go.

    At the start both matrices are drawn from N(0, init_std^2) and the biases are zero, which is near the identity;
    init=identity has W_up zero, which is the identity.
    """

    bottleneck: int
    nonlinearity: str
    init: str
    init_std: float

    def __post_init__(self) -> None:
        check_choice("nonlinearity", self.nonlinearity, NONLINEARITIES)
        check_choice("init", self.init, INITS)
        check_whole("bottleneck", self.bottleneck, 1)
        check_number("init_std", self.init_std, above=0)

    def put(self, model: nn.Module, adapter: str, places: Iterable[str], kind: type[Bottleneck] = Bottleneck,
            norm: bool = False) -> None:
        """A bottleneck at each of the places."""
        n: int = model.config.hidden_size  # type: ignore[union-attr, assignment]
        if self.bottleneck > n:
            raise ValueError(f"bottleneck {self.bottleneck} is not in 1..{n} for hidden states of {n}")
        for place in places:
            inject(model, place, adapter, kind(n, self, next(model.parameters()), norm))

    def merge_refusal(self) -> str | None:
        return (f"{self.name} cannot be merged: its bottlenecks have a non-linearity between their two matrices, "
                "so that no frozen weight holds what they add")

    def route_refusal(self) -> str | None:
        return f"{self.name} cannot be routed: only low-rank updates can share a batch"
