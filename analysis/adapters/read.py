"""Which updates a study is about: read from a file, chosen by role and layer, and paired with another adapter's.

An adapter is a folder in our layout or in PEFT's, or a loralib state dict. No model is needed. A site that cannot be
studied is a Problem beside the updates that can; ValueError only where nothing is left.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.adapters.layouts import Contents, read_ours, read_peft_folder, read_state_dict
from analysis.adapters.updates import Problem, Update, in_order
from lora import adapter_file, peft
from lora.errors import nearest


@dataclass(frozen=True)
class AdapterUpdates:
    """The low-rank updates of one adapter, by layer and role."""

    source: str              # the adapter as the user named it
    path: Path               # its folder or state dict
    base: Mapping[str, Any]  # the base model's name, path, revision, fingerprint, architecture, as far as stored
    updates: list[Update]
    problems: list[Problem]


def read_updates(path: Path | str, *, source: Path | str | None = None, alpha: float | None = None,
                 fused: Sequence[str] | None = None, factors: bool = False) -> AdapterUpdates:
    """The updates in a folder or file, which messages call `source`, or by its path.

    `alpha` and `fused` say of a loralib file what it does not store; the other layouts store both. `factors` asks for
    A and B and not for dW, so DoRA's are read too. PiSSA's are not: all start from W0's first directions, so that
    shared directions are not learnt.
    """
    path = Path(path)
    contents = _read(path, alpha, fused, factors)
    if not contents.updates:
        raise ValueError(f"{path} has nothing to study: {joined(contents.problems) or 'no lora_A and lora_B'}")
    return AdapterUpdates(str(source or path), path, contents.base, in_order(contents.updates), contents.problems)


def _read(path: Path, alpha: float | None, fused: Sequence[str] | None, factors: bool) -> Contents:
    if path.is_file():
        return read_state_dict(path, alpha, fused)
    if (path / peft.CONFIG).is_file() and not (path / adapter_file.DESCRIPTION).is_file():
        return read_peft_folder(path, factors)
    return read_ours(path, factors)


def select(adapter: AdapterUpdates, roles: Sequence[str] | None = None,
           layers: Sequence[int] | None = None) -> list[Update]:
    """The updates of these roles (or last words of module names) and layers, all where None; ValueError for others."""
    return choose(adapter.updates, roles, layers, f"of {adapter.source}", adapter.problems)


def choose(updates: Sequence[Update], roles: Sequence[str] | None, layers: Sequence[int] | None, where: str,
           problems: Sequence[Problem]) -> list[Update]:
    """The updates of these roles and layers; `where` and `problems` are for the message of a ValueError."""
    because = f" ({joined(problems)})" if problems else ""
    words = {word for update in updates for word in (update.role, update.word)}
    for role in roles or ():
        if role not in words:
            roles_here = ", ".join(dict.fromkeys(update.role for update in updates))
            raise ValueError(f"role {role!r} {where} is not one of {roles_here}{nearest(role, words)}{because}")
    numbers = sorted({update.layer for update in updates if update.layer is not None})
    for layer in layers or ():
        if layer not in numbers:
            raise ValueError(f"layer {layer} {where} is not one of {', '.join(map(str, numbers))}{because}")
    chosen = [update for update in updates if (roles is None or not {update.role, update.word}.isdisjoint(roles))
              and (layers is None or update.layer in layers)]
    if not chosen:
        raise ValueError(f"no update {where} has roles {roles} in layers {layers}{because}")
    return chosen


def joined(problems: Sequence[Problem]) -> str:
    """The first problems in one line."""
    rest = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    return "; ".join(map(str, problems[:3])) + rest
