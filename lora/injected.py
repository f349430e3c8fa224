"""Modules that adapters inject at a place of the model instead of updating a dense weight: bottlenecks, prefixes.

`host.injected[name]` is the module of adapter `name` at the module `host`. It acts through hooks of the host: the model
keeps its classes and its parameters' names, and the slot `host.injected` is removed with its last module.
"""

import re
from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from lora.layer import AdaptedDense

_OWNED = re.compile(r"(?:^|\.)(?:updates|injected)\.([^.]+)\.")


class Injected(nn.Module):
    """A module that acts while its adapter is active: before its host's forward, after it, or both.

    The host is passed at each call and must not be stored: it would become a submodule of its own submodule. `then` is
    the adapter's next module at the same host; modules of one class can follow each other if `repeatable`.
    """

    repeatable = False

    def __init__(self) -> None:
        super().__init__()
        self.then: Injected | None = None

    def chain(self) -> "Iterator[Injected]":
        """This module and those that follow it."""
        yield self
        if self.then is not None:
            yield from self.then.chain()

    def before(self, host: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """The args and kwargs that the host receives in place of these."""
        return args, kwargs

    def after(self, host: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """The value that replaces the host's output; args and kwargs are those that it received."""
        return output


class Slot(nn.ModuleDict):
    """The modules of several adapters at one host; those of the active adapter act."""

    def __init__(self) -> None:
        super().__init__()
        self.active: str | None = None
        self._hooks: dict[str, Any] = {}

    def put(self, host: nn.Module, adapter: str, module: Injected) -> None:
        """Add a module of `adapter` after those it has at this host; ValueError for a second that is not repeatable."""
        module.train(host.training)
        if adapter in self:
            *_, last = before = list(self._chain(adapter))
            if type(module) in map(type, before) and not module.repeatable:
                raise ValueError(f"adapter {adapter!r} already has its {type(module).__name__} here, and a place has "
                                 "room for one")
            last.then = module
        else:
            self[adapter] = module
        for kind, register in (("before", host.register_forward_pre_hook), ("after", host.register_forward_hook)):
            if kind not in self._hooks and getattr(type(module), kind) is not getattr(Injected, kind):
                self._hooks[kind] = register(getattr(self, f"_{kind}"), with_kwargs=True)  # type: ignore[operator]

    def remove(self, host: nn.Module, adapter: str) -> None:
        """Remove the modules of `adapter`; the slot and its hooks are removed with the last adapter."""
        del self[adapter]
        if not self:
            for hook in self._hooks.values():
                hook.remove()
            del host.injected

    def _chain(self, adapter: str | None) -> Iterator[Injected]:
        """The modules of an adapter, in the order in which they act."""
        first = self._modules.get(adapter or "")
        return first.chain() if isinstance(first, Injected) else iter(())

    def _before(self, host: nn.Module, args: Any, kwargs: Any) -> Any:
        for module in self._chain(self.active):
            args, kwargs = module.before(host, args, kwargs)
        return args, kwargs

    def _after(self, host: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        for module in self._chain(self.active):
            output = module.after(host, args, kwargs, output)
        return output


def inject(model: nn.Module, place: str, adapter: str, module: Injected) -> None:
    """Put `module` of `adapter` at the module named `place` ('' is the model itself).

    Places are not dense maps, whose names change under a low-rank update.
    """
    host = model.get_submodule(place)
    if isinstance(host, AdaptedDense | nn.Linear | Conv1D):
        raise TypeError(f"{place} is a dense map: its output is changed by a low-rank update")
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
    """Name of the adapter that added a parameter (or module); None for those of the base model."""
    match = _OWNED.search(parameter)
    return match[1] if match else None


def plain_own_name(parameter: str, adapter: str) -> str:
    """Name of a parameter that an adapter added, without the adapter's name: as adapter files have it."""
    return parameter.replace(f".updates.{adapter}.", ".").replace(f"injected.{adapter}.", "injected.")
