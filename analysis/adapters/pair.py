"""Pair the updates of two adapters by the matrix that they update."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from analysis.adapters.read import AdapterUpdates, choose, joined
from analysis.adapters.updates import Problem, Update

Partners = tuple[Update | None, Update | None]  # of one matrix, in two adapters


@dataclass(frozen=True)
class Pairs:
    """The same matrices' updates in two adapters."""

    pairs: list[tuple[Update, Update]]
    problems: list[Problem]  # of either adapter, of sites without a partner, and of different base models


def pair(a: AdapterUpdates, b: AdapterUpdates, roles: Sequence[str] | None = None,
         layers: Sequence[int] | None = None) -> Pairs:
    """Updates of one matrix in both, chosen as by select. ValueError where the two have no matrix in common."""
    problems = [Problem(f"{adapter.source}: {problem.site}", problem.message) for adapter in (a, b)
                for problem in adapter.problems]
    chosen = set(map(id, choose([*a.updates, *b.updates], roles, layers, f"of {a.source} and {b.source}", problems)))
    matched = [two for two in _matched(a.updates, b.updates) if chosen & set(map(id, two))]
    pairs = [(x, y) for x, y in matched if x is not None and y is not None]
    problems += _lone(matched, a, b)
    problems += [Problem(x.label, f"dW is {_shape(x)} in {a.source} and {_shape(y)} in {b.source}")
                 for x, y in pairs if _shape(x) != _shape(y)]
    problems += _other_base(a, b)
    pairs = [(x, y) for x, y in pairs if _shape(x) == _shape(y)]
    if not pairs:
        raise ValueError(f"{a.source} and {b.source} have no matrix in common: {joined(problems)}")
    return Pairs(pairs, problems)


def _matched(first: Sequence[Update], second: Sequence[Update]) -> list[Partners]:
    """Every update with its partner, None where it has none; of several that could be, none is taken."""
    matched: list[Partners] = []
    for x in first:
        partners = [y for y in second if x.same_matrix(y)]
        alone = len(partners) != 1 or sum(partners[0].same_matrix(other) for other in first) > 1
        matched.append((x, None if alone else partners[0]))
    taken = {id(y) for _, y in matched}
    return [*matched, *((None, y) for y in second if id(y) not in taken)]


def _lone(matched: Iterable[Partners], a: AdapterUpdates, b: AdapterUpdates) -> list[Problem]:
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


def _other_base(a: AdapterUpdates, b: AdapterUpdates) -> list[Problem]:
    """A problem where what is stored says that the base models differ.

    Equal fingerprints settle it, unequal ones do not: a fingerprint leaves out what an adapter trains in place.
    """
    fingerprints = [adapter.base.get("fingerprint") for adapter in (a, b)]
    if fingerprints[0] is not None and fingerprints[0] == fingerprints[1]:
        return []
    for key in ("name", "revision"):
        first, second = a.base.get(key), b.base.get(key)
        if first is not None and second is not None and first != second:
            return [Problem("base model", f"{first!r} in {a.source} and {second!r} in {b.source} ({key})")]
    return []
