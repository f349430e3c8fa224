"""Which updates a study is about: read from a file, chosen by role and layer, and paired with another adapter's.

A source is a folder in our layout or in PEFT's, a loralib state dict, or a run of a store: its record's JSON file, or
the run's name below the store (results/local/mrpc-minilm-lora-seed0-1a2b3c4d). No model is needed. What cannot be
studied is a Problem beside the updates that can; ValueError only where nothing is left.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.layouts import Contents, read_ours, read_peft_folder, read_state_dict
from analysis.updates import Problem, Update, in_order
from lora import adapter_file, peft
from lora.errors import nearest

Partners = tuple[Update | None, Update | None]  # of one matrix, in two adapters


@dataclass(frozen=True)
class Adapter:
    """The low-rank updates of one adapter, by layer and role."""

    source: str
    base: Mapping[str, Any]  # the base model's name, path, revision, fingerprint, architecture, as far as stored
    updates: list[Update]
    problems: list[Problem]


def read_updates(source: Path | str, *, alpha: float | None = None, fused: Sequence[str] | None = None,
                 factors: bool = False) -> Adapter:
    """The updates in `source`. `alpha` and `fused` say of a loralib file what it does not store; others store both.

    `factors` asks for A and B and not for dW, so DoRA's are read too. PiSSA's are not: all start from W0's first
    directions, so that what two adapters share is not learnt.
    """
    path = locate(source)
    contents = _read(path, alpha, fused, factors)
    if not contents.updates:
        raise ValueError(f"{path} has nothing to study: {_joined(contents.problems) or 'no lora_A and lora_B'}")
    return Adapter(str(source), contents.base, in_order(contents.updates), contents.problems)


def _read(path: Path, alpha: float | None, fused: Sequence[str] | None, factors: bool) -> Contents:
    if path.is_file():
        return read_state_dict(path, alpha, fused)
    if (path / peft.CONFIG).is_file() and not (path / adapter_file.DESCRIPTION).is_file():
        return read_peft_folder(path, factors)
    return read_ours(path, factors)


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
    chosen = set(map(id, _choose([*a.updates, *b.updates], roles, layers, f"of {a.source} and {b.source}", problems)))
    matched = [two for two in _matched(a.updates, b.updates) if chosen & set(map(id, two))]
    pairs = [(x, y) for x, y in matched if x is not None and y is not None]
    problems += _lone(matched, a, b)
    problems += [Problem(x.label, f"dW is {_shape(x)} in {a.source} and {_shape(y)} in {b.source}")
                 for x, y in pairs if _shape(x) != _shape(y)]
    problems += _other_base(a, b)
    pairs = [(x, y) for x, y in pairs if _shape(x) == _shape(y)]
    if not pairs:
        raise ValueError(f"{a.source} and {b.source} have no matrix in common: {_joined(problems)}")
    return Pairs(pairs, problems)


def _matched(first: Sequence[Update], second: Sequence[Update]) -> list[Partners]:
    """Every update with its partner, None where it has none; of several that could be, none is taken."""
    found: list[Partners] = []
    for x in first:
        partners = [y for y in second if x.same_matrix(y)]
        alone = len(partners) != 1 or sum(partners[0].same_matrix(other) for other in first) > 1
        found.append((x, None if alone else partners[0]))
    taken = {id(y) for _, y in found}
    return [*found, *((None, y) for y in second if id(y) not in taken)]


def _lone(matched: Iterable[Partners], a: Adapter, b: Adapter) -> list[Problem]:
    """A problem for each update without a partner: one for several of a role that the other adapter lacks."""
    groups: dict[tuple[str, str], list[Update]] = {}
    for x, y in matched:
        if (x is None or y is None) and (update := x or y) is not None:
            groups.setdefault((update.role, (b if x is None else a).source), []).append(update)
    both = {update.role for update in a.updates} & {update.role for update in b.updates}
    problems = []
    for (role, source), updates in groups.items():
        if len(updates) > 1 and role not in both:
            problems.append(Problem(role, f"only {source} has it, in {len(updates)} matrices"))
        else:
            problems += [Problem(update.label, f"only {source} has it") for update in updates]
    return problems


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
