"""The base of all adaptation methods: a frozen dataclass that is applied to a model.

A method changes the model and states which parameters train and at which learning-rate scale; it has no loop.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from lora.bank import Adapter, activate, bank, base_parameters, check_new, disabled, forget, own_parameters
from lora.sites import head_modules


@dataclass
class ParameterGroup:
    """Parameters that train with one learning rate, a multiple of the run's; by name."""

    name: str
    parameters: dict[str, nn.Parameter]
    learning_rate_scale: float = 1.0
    head: bool = False  # counted apart


@dataclass(frozen=True, kw_only=True)
class Method:
    """Base of all methods. Fields are the method's YAML keys; `name` is its name in tables and records."""

    name: str

    def inject(self, model: nn.Module, adapter: str, heads: Sequence[str]) -> None:
        """Add this method's new parameters to the model under the adapter's name.

        They are low-rank updates of dense maps (lora.layer) or modules at a place (lora.injected). `heads` names the
        modules of the task head, which train whole beside any method.
        """

    def in_place(self, model: nn.Module, body: dict[str, nn.Parameter]) -> list[str]:
        """Names of the base parameters (head excluded) that this method trains where they are."""
        return []

    def keeps_base(self) -> bool:
        """True where the base values of in-place parameters are kept, so that the adapter can be removed."""
        return True

    def merge_refusal(self) -> str | None:
        """Why the adapter cannot be merged into the frozen weights; None where it can."""
        return None

    def route_refusal(self) -> str | None:
        """Why the adapter cannot share a batch with others; None where it can."""
        return None

    def positions(self) -> int:
        """Number of positions that the method adds to each row: the input can be that much shorter."""
        return 0

    def separators(self) -> dict[str, int]:
        """Tokens before which a resolved method adds positions in a causal language model, by field."""
        return {}

    def resolved(self, model: nn.Module, heads: Sequence[str]) -> "Method":
        """The method with fields that depend on the model's config filled in, as the adapter keeps it."""
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
        base = base_parameters(model)
        head = {key: p for key, p in base.items() if any(key.startswith(f"{name}.") for name in heads)}
        body = {key: p for key, p in base.items() if key not in head}
        beside = bank(model).active is not None
        with disabled(model):  # initial values computed from W0 must not see the active adapter's in-place values
            try:
                in_place, groups = self.add(model, adapter, heads, body)
            except BaseException:
                forget(model, adapter)
                raise
            copies = {key: body[key].detach().clone() for key in in_place} if self.keeps_base() else None
            aside = (*in_place, *head) if beside else ()  # else they are in the model already
            values = {key: base[key].detach().clone() for key in aside}
        bank(model).adapters[adapter] = Adapter(self.resolved(model, heads), in_place, list(head), copies, values)
        activate(model, adapter)
        return groups + ([ParameterGroup("head", head, head=True)] if head else [])

    def add(self, model: nn.Module, adapter: str, heads: Sequence[str],
            body: dict[str, nn.Parameter]) -> tuple[list[str], list[ParameterGroup]]:
        """Inject new parameters and choose those that train in place: names of the latter, and the groups of both."""
        before = own_parameters(model, adapter).keys()
        self.inject(model, adapter, heads)
        in_place = self.in_place(model, body)
        added = {key: p for key, p in own_parameters(model, adapter).items() if key not in before}
        return in_place, self.groups(added | {key: body[key] for key in in_place})

    def groups(self, trained: dict[str, nn.Parameter]) -> list[ParameterGroup]:
        """The method's parameters, grouped by learning rate."""
        return [ParameterGroup(self.name, trained)]
