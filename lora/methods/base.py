"""What every adaptation method is: a frozen dataclass with one way to apply it to a model.

A method changes the model and says which parameters train and at which learning-rate scale; it never owns a loop.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from lora.bank import Adapter, activate, bank, base_parameters, check_new, disabled, forget, own_parameters
from lora.sites import head_modules


@dataclass
class ParameterGroup:
    """Parameters that train together: by name, with their learning rate as a multiple of the run's."""

    name: str
    parameters: dict[str, nn.Parameter]
    learning_rate_scale: float = 1.0
    head: bool = False  # counted apart


@dataclass(frozen=True, kw_only=True)
class Method:
    """Base of all methods. Fields are the method's YAML keys; `name` is the method's word in tables and records."""

    name: str

    def inject(self, model: nn.Module, adapter: str, heads: Sequence[str]) -> None:
        """Bring this method's new parameters into the model under the adapter's name.

        They are low-rank updates of dense maps (lora.layer) or modules at a place (lora.injected). `heads` names the
        modules of the task head, which train whole beside any method.
        """

    def in_place(self, model: nn.Module, body: dict[str, nn.Parameter]) -> list[str]:
        """Names of the base parameters (head excluded) that this method trains where they are."""
        return []

    def keeps_base(self) -> bool:
        """Whether a copy of the in-place parameters' base values is kept, so that the adapter can be taken off."""
        return True

    def merge_refusal(self) -> str | None:
        """Why the adapter cannot be merged into the frozen weights; None where it can."""
        return None

    def route_refusal(self) -> str | None:
        """Why the adapter cannot share a batch with others; None where it can."""
        return None

    def positions(self) -> int:
        """How many of the model's positions the method takes in each row: the input may be that much shorter."""
        return 0

    def separators(self) -> dict[str, int]:
        """Tokens before which a resolved method has positions in a causal language model's rows, by their fields."""
        return {}

    def resolved(self, model: nn.Module, heads: Sequence[str]) -> "Method":
        """The method with what it takes from the model's config said, as the adapter keeps it."""
        return self

    def config(self) -> dict[str, Any]:
        """The method's fields, enough to build it again."""
        return asdict(self)

    def apply(self, model: nn.Module, *, pooler: str, adapter: str = "default") -> list[ParameterGroup]:
        """Freeze the model, add a new active adapter, and return what trains: the method's own group and the head.

        `pooler` is "train" or "frozen" (see lora.sites.head_modules). Random numbers come from torch's generator, so
        seed it before. A second adapter on the same model starts from the head as it stands.
        """
        check_new(model, adapter)
        if bank(model).adapters and not self.keeps_base():
            raise RuntimeError(f"{self.name} trains every weight: it cannot share a model with other adapters")
        heads = head_modules(model, pooler)
        every = base_parameters(model)
        head = {key: p for key, p in every.items() if any(key.startswith(f"{name}.") for name in heads)}
        body = {key: p for key, p in every.items() if key not in head}
        beside = bank(model).active is not None
        with disabled(model):  # what starts from W0 must not see what the active adapter trained in its place
            try:
                in_place, groups = self.add(model, adapter, heads, body)
            except BaseException:
                forget(model, adapter)
                raise
            copies = {key: body[key].detach().clone() for key in in_place} if self.keeps_base() else None
            aside = (*in_place, *head) if beside else ()  # else they are in the model already
            values = {key: every[key].detach().clone() for key in aside}
        bank(model).adapters[adapter] = Adapter(self.resolved(model, heads), in_place, list(head), copies, values)
        activate(model, adapter)
        return groups + ([ParameterGroup("head", head, head=True)] if head else [])

    def add(self, model: nn.Module, adapter: str, heads: Sequence[str],
            body: dict[str, nn.Parameter]) -> tuple[list[str], list[ParameterGroup]]:
        """Bring in what is new and choose what trains in place: the names of the latter, and the groups of both."""
        before = own_parameters(model, adapter).keys()
        self.inject(model, adapter, heads)
        in_place = self.in_place(model, body)
        own = {key: p for key, p in own_parameters(model, adapter).items() if key not in before}
        return in_place, self.groups(own | {key: body[key] for key in in_place})

    def groups(self, own: dict[str, nn.Parameter]) -> list[ParameterGroup]:
        """How the method's own parameters are grouped for the optimizer."""
        return [ParameterGroup(self.name, own)]
