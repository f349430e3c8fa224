"""Modules that adapters put at a place of the model, where no dense weight is updated: bottlenecks, prefixes.

`host.injected[name]` is what adapter `name` put at the module `host`. It works through hooks on the host: the model
keeps its classes and its parameters' names, and the slot `host.injected` goes with its last module.
"""

import re
from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from lora.layer import AdaptedDense

_OWNED = re.compile(r"(?:^|\.)(?:updates|injected)\.([^.]+)\.")


class Injected(nn.Module):
    """A module at work while its adapter is active: before its host's forward, after it, or both.

    The host is handed over at each call, and must not be kept: it would become a part of its own part.
    """

    def before(self, host: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """The args and kwargs that the host is given for these."""
        return args, kwargs

    def after(self, host: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """What stands for the host's output; args and kwargs are what it was given."""
        return output


class Slot(nn.ModuleDict):
    """The modules of several adapters at one host, of which the active one's works."""

    def __init__(self) -> None:
        super().__init__()
        self.active: str | None = None
        self._hooks: dict[str, Any] = {}

    def put(self, host: nn.Module, adapter: str, module: Injected) -> None:
        """Add the module of `adapter`; ValueError where it has one here already."""
        if adapter in self:
            raise ValueError(f"adapter {adapter!r} already has a {type(self[adapter]).__name__} here, and a place has "
                             f"room for one module: no {type(module).__name__} can be beside it")
        self[adapter] = module.train(host.training)
        for kind, register in (("before", host.register_forward_pre_hook), ("after", host.register_forward_hook)):
            if kind not in self._hooks and getattr(type(module), kind) is not getattr(Injected, kind):
                self._hooks[kind] = register(getattr(self, f"_{kind}"), with_kwargs=True)  # type: ignore[operator]

    def remove(self, host: nn.Module, adapter: str) -> None:
        """Forget the module of `adapter`; the last one takes the slot and its hooks along."""
        del self[adapter]
        if not self:
            for hook in self._hooks.values():
                hook.remove()
            del host.injected

    def _before(self, host: nn.Module, args: Any, kwargs: Any) -> Any:
        module = self._modules.get(self.active or "")
        return module.before(host, args, kwargs) if module is not None else (args, kwargs)  # type: ignore[operator]

    def _after(self, host: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        module = self._modules.get(self.active or "")
        return module.after(host, args, kwargs, output) if module is not None else output  # type: ignore[operator]


def inject(model: nn.Module, place: str, adapter: str, module: Injected) -> None:
    """Put `module` of `adapter` at the module named `place` ('' is the model itself).

    Places are not dense maps, whose names change under a low-rank update.
    """
    host = model.get_submodule(place)
    if isinstance(host, AdaptedDense | nn.Linear | Conv1D):
        raise TypeError(f"{place} is a dense map: what it gives is changed by a low-rank update")
    if "injected" not in host._modules:
        host.injected = Slot()
    slot = host.injected
    assert isinstance(slot, Slot)
    try:
        slot.put(host, adapter, module)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def slots(model: nn.Module) -> Iterator[tuple[nn.Module, Slot]]:
    """Every host of the model with its slot."""
    return ((host, slot) for host in list(model.modules()) if isinstance(slot := host._modules.get("injected"), Slot))


def adapter_of(parameter: str) -> str | None:
    """Name of the adapter that brought a parameter (or module) into the model; None for the model's own."""
    match = _OWNED.search(parameter)
    return match[1] if match else None


def plain_own_name(parameter: str, adapter: str) -> str:
    """Name of a parameter of an adapter's own without the adapter's: as adapter files have it."""
    return parameter.replace(f".updates.{adapter}.", ".").replace(f"injected.{adapter}.", "injected.")
