"""Several methods as one adapter (appendix E: LoRA with prefixes)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from lora.layer import adapted_layers
from lora.methods.base import Method, ParameterGroup


@dataclass(frozen=True, kw_only=True)
class Combined(Method):
    """Methods by name, added in their order.

    No two may train the same parameter, and none may train a W0 in place that another's low-rank update needs frozen.
    """

    parts: Mapping[str, Method]

    def __post_init__(self) -> None:
        if len(self.parts) < 2:
            raise ValueError(f"{self.name} combines {len(self.parts)} methods: name two or more as its parts")
        for word, part in self.parts.items():
            if not isinstance(part, Method):
                raise ValueError(f"part {word!r} of {self.name} is {part!r}, not a method")

    def add(self, model: nn.Module, adapter: str, heads: Sequence[str],
            body: dict[str, nn.Parameter]) -> tuple[list[str], list[ParameterGroup]]:
        owner: dict[str, str] = {}
        frozen: dict[Tensor, str] = {}  # weight with a low-rank update -> its part
        groups: list[ParameterGroup] = []
        for word, part in self.parts.items():
            try:
                in_place, part_groups = part.add(model, adapter, heads, body)
            except ValueError as error:
                raise ValueError(f"{self.name}, part {word}: {error}") from None
            if both := [key for key in in_place if key in owner]:
                raise ValueError(f"{self.name}: {owner[both[0]]} and {word} both train {both[0]} (of {len(both)})")
            owner |= dict.fromkeys(in_place, word)
            frozen = {layer.base.weight: word for _, layer in adapted_layers(model) if layer.of(adapter)} | frozen
            groups += part_groups
        if both := [key for key in owner if body[key] in frozen]:
            raise ValueError(f"{self.name}: {owner[both[0]]} trains {both[0]} (of {len(both)}) itself, and the update "
                             f"of {frozen[body[both[0]]]} is beside that weight frozen: choose other targets or blocks")
        return list(owner), groups

    def resolved(self, model: nn.Module, heads: Sequence[str]) -> Method:
        return replace(self, parts={word: part.resolved(model, heads) for word, part in self.parts.items()})

    def separators(self) -> dict[str, int]:
        return {f"parts.{word}.{field}": token for word, part in self.parts.items()
                for field, token in part.separators().items()}

    def keeps_base(self) -> bool:
        return all(part.keeps_base() for part in self.parts.values())

    def positions(self) -> int:
        return sum(part.positions() for part in self.parts.values())

    def merge_refusal(self) -> str | None:
        return next(filter(None, (part.merge_refusal() for part in self.parts.values())), None)

    def route_refusal(self) -> str | None:
        return next(filter(None, (part.route_refusal() for part in self.parts.values())), None)

    def config(self) -> dict[str, Any]:
        parts = {word: {"class": type(part).__name__, **part.config()} for word, part in self.parts.items()}
        return {"name": self.name, "parts": parts}
