"""What every adaptation method is: a frozen dataclass with one way to apply it to a model.

A method changes the model and says which parameters train and at which learning-rate scale; it never owns a loop.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from lora.bank import Adapter, activate, bank, base_parameters, base_values, check_new, forget, own_parameters
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
        try:
            self.inject(model, adapter, heads)
            every = base_parameters(model)
            head = {key: p for key, p in every.items() if any(key.startswith(f"{name}.") for name in heads)}
            body = {key: p for key, p in every.items() if key not in head}
            in_place = self.in_place(model, body)
        except ValueError:
            forget(model, adapter)
            raise
        start = base_values(model) | head
        copies = {key: start[key].detach().clone() for key in in_place} if self.keeps_base() else None
        aside = (*in_place, *head) if bank(model).active is not None else ()  # else they are in the model already
        values = {key: start[key].detach().clone() for key in aside}
        bank(model).adapters[adapter] = Adapter(self, in_place, list(head), copies, values)
        activate(model, adapter)
        own = own_parameters(model, adapter) | {key: body[key] for key in in_place}
        return self.groups(own) + ([ParameterGroup("head", head, head=True)] if head else [])

    def groups(self, own: dict[str, nn.Parameter]) -> list[ParameterGroup]:
        """How the method's own parameters are grouped for the optimizer."""
        return [ParameterGroup(self.name, own)]
