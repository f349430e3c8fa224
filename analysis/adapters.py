"""Which updates a study is about: read from a file, chosen by role and layer, and paired with another adapter's.

A source is a folder in our layout or in PEFT's, a loralib state dict, or a run of a store: its record's JSON file, or
the run's name below the store (results/local/mrpc-minilm-lora-seed0-1a2b3c4d). No model is needed. What cannot be
studied is a Problem beside the updates that can; ValueError only where nothing is left.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.layouts import Contents, read_ours, read_peft_folder, read_state_dict
from analysis.updates import Problem, Update, in_order
from lora import adapter_file, peft
from lora.errors import nearest


@dataclass(frozen=True)
class Adapter:
    """The low-rank updates of one adapter, by layer and role."""

    source: str
    base: Mapping[str, Any]  # the base model's name, path, revision, fingerprint, architecture, as far as stored
    updates: list[Update]
    problems: list[Problem]


def read_updates(source: Path | str, *, alpha: float | None = None, fused: Sequence[str] | None = None) -> Adapter:
    """The updates in `source`. `alpha` and `fused` say of a loralib file what it does not store; others store both."""
    path = locate(source)
    contents = _read(path, alpha, fused)
    if not contents.updates:
        raise ValueError(f"{path} has nothing to study: {_joined(contents.problems) or 'no lora_A and lora_B'}")
    return Adapter(str(source), contents.base, in_order(contents.updates), contents.problems)


def _read(path: Path, alpha: float | None, fused: Sequence[str] | None) -> Contents:
    if path.is_file():
        return read_state_dict(path, alpha, fused)
    if (path / peft.CONFIG).is_file() and not (path / adapter_file.DESCRIPTION).is_file():
        return read_peft_folder(path)
    return read_ours(path)


def locate(source: Path | str) -> Path:
    """The adapter's folder or state dict; that of a run is where its record says."""
    path = Path(source).expanduser()
    if path.is_file() and path.suffix == ".json":
        return _of_run(path.parent.parent, path.stem)
    if path.exists():
        return path
    for store in (path.parent, path.parent.parent):
        if (store / "runs" / f"{path.name}.json").is_file():
            return _of_run(store, path.name)
    runs = [file.stem for file in path.parent.glob("runs/*.json")]
    beside = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    raise FileNotFoundError(f"no adapter and no run at {source}{nearest(path.name, runs + beside)}")


def _of_run(root: Path, run: str) -> Path:
    from experiments.runs import Store

    record = Store(root).read(run)
    if record is None or record.adapter is None:
        status = "not in the store" if record is None else record.status
        raise FileNotFoundError(f"run {run} of {root} ({status}) kept no adapter")
    if not (folder := root / record.adapter).is_dir():
        raise FileNotFoundError(f"run {run} kept its adapter in {folder}, which is not there: adapters stay where "
                                "the run was computed; run it again with overwrite=true")
    return folder


def select(adapter: Adapter, roles: Sequence[str] | None = None, layers: Sequence[int] | None = None) -> list[Update]:
    """The updates of these roles (or last words of module names) and layers, all where None; ValueError for others."""
    return _choose(adapter.updates, roles, layers, f"of {adapter.source}", adapter.problems)


def _choose(updates: Sequence[Update], roles: Sequence[str] | None, layers: Sequence[int] | None, where: str,
            problems: Sequence[Problem]) -> list[Update]:
    because = f" ({_joined(problems)})" if problems else ""
    words = {word for update in updates for word in (update.role, update.word)}
    for role in roles or ():
        if role not in words:
            known = ", ".join(dict.fromkeys(update.role for update in updates))
            raise ValueError(f"site {role!r} {where} is not one of {known}{nearest(role, words)}{because}")
    numbers = sorted({update.layer for update in updates if update.layer is not None})
    for layer in layers or ():
        if layer not in numbers:
            raise ValueError(f"layer {layer} {where} is not one of {', '.join(map(str, numbers))}{because}")
    chosen = [update for update in updates if (roles is None or not {update.role, update.word}.isdisjoint(roles))
              and (layers is None or update.layer in layers)]
    if not chosen:
        raise ValueError(f"no update {where} is at sites {roles} in layers {layers}{because}")
    return chosen


@dataclass(frozen=True)
class Pairs:
    """The same matrices' updates in two adapters."""

    pairs: list[tuple[Update, Update]]
    problems: list[Problem]  # of either adapter, of sites without a partner, and of different base models


def pair(a: Adapter, b: Adapter, roles: Sequence[str] | None = None, layers: Sequence[int] | None = None) -> Pairs:
    """Updates of one matrix in both, chosen as by select. ValueError where the two have no matrix in common."""
    problems = [Problem(f"{each.source}: {problem.site}", problem.message) for each in (a, b)
                for problem in each.problems]
    chosen = {u.site: u for u in _choose([*a.updates, *b.updates], roles, layers, f"of {a.source} and {b.source}",
                                         problems)}
    of_a, of_b = ({u.site: u for u in each.updates} for each in (a, b))
    pairs = []
    lone = _lone_roles(chosen.values(), a, b)
    problems += lone.values()
    for site, update in chosen.items():
        if site in of_a and site in of_b and _shape(of_a[site]) == _shape(of_b[site]):
            pairs.append((of_a[site], of_b[site]))
        elif site in of_a and site in of_b:
            problems.append(Problem(update.label, f"dW is {_shape(of_a[site])} in {a.source} "
                                                  f"and {_shape(of_b[site])} in {b.source}"))
        elif update.role not in lone:
            problems.append(Problem(update.label, f"only {(a if site in of_a else b).source} has it"))
    problems += _other_base(a, b)
    if not pairs:
        raise ValueError(f"{a.source} and {b.source} have no matrix in common: {_joined(problems)}")
    return Pairs(pairs, problems)


def _lone_roles(updates: Iterable[Update], a: Adapter, b: Adapter) -> dict[str, Problem]:
    """One problem for each role of several matrices that only one of the two has."""
    count = Counter(update.role for update in updates)
    of_a, of_b = ({update.role for update in each.updates} for each in (a, b))
    return {role: Problem(role, f"only {(a if role in of_a else b).source} has it, in {times} matrices")
            for role, times in count.items() if times > 1 and (role in of_a) != (role in of_b)}


def _shape(update: Update) -> tuple[int, int]:
    """(n_part, n_in) of dW."""
    return update.B.shape[0], update.A.shape[1]


def _other_base(a: Adapter, b: Adapter) -> list[Problem]:
    """A problem where what is stored says that the base models differ.

    Equal fingerprints settle it, unequal ones do not: a fingerprint leaves out what an adapter trains in place.
    """
    fingerprints = [each.base.get("fingerprint") for each in (a, b)]
    if fingerprints[0] is not None and fingerprints[0] == fingerprints[1]:
        return []
    for key in ("name", "revision"):
        first, second = a.base.get(key), b.base.get(key)
        if first is not None and second is not None and first != second:
            return [Problem("base model", f"{first!r} in {a.source} and {second!r} in {b.source} ({key})")]
    return []


def _joined(problems: Sequence[Problem]) -> str:
    """The first problems in one line."""
    rest = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    return "; ".join(map(str, problems[:3])) + rest
