"""phi(i, j) between two adapters' updates of the same matrices (sections 7.2 and H.3): each site, and all together."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from analysis.adapters.pair import Pairs, pair
from analysis.adapters.read import read_updates
from analysis.adapters.updates import Problem
from analysis.figures.lines import spread
from analysis.figures.similarity import CORNER, Panel, shared_figure, similarity_figure
from analysis.linalg.chance import null_smallest_angle
from analysis.linalg.similarity import (
    expected_similarity,
    principal_angles,
    projection_distance,
    similarity,
)
from analysis.linalg.statistics import Interval, Shared, mean_interval, shared_directions
from analysis.studies.directions import WHICH, directions, left_out
from analysis.studies.phi import phi_table
from analysis.studies.study import Study, name_of, place, role_names, shown
from experiments.runs.initial import common_start
from experiments.store.locate import short_name
from lora.errors import check_choice

Key = tuple[str, int, int, int]  # role, ranks and d: the sites of a key are read together


@dataclass(frozen=True)
class Options:
    """What is compared (one of WHICH), and the statistics' quantile, draws and seed."""

    which: str
    level: float
    samples: int
    seed: int

    def __post_init__(self) -> None:
        check_choice("which", self.which, WHICH)


@dataclass(frozen=True)
class Overlap:
    """Two adapters' updates of one matrix."""

    layer: int | None
    role: str
    module: str
    d: int
    phi: Tensor               # (rank_a, rank_b)
    angle: float              # the smallest principal angle between all of a's and b's directions, in degrees
    distance: float           # projection metric between the first p directions of both (appendix G)
    start: float | None       # phi(p, p) of the two A before training, where they were drawn from one seed
    identical: bool

    @property
    def key(self) -> Key:
        return (self.role, *self.phi.shape, self.d)

    @property
    def last(self) -> float:
        """phi(p, p), p the smaller rank."""
        p = min(self.phi.shape)
        return self.phi[p - 1, p - 1].item()


def overlaps(pairs: Pairs, which: str, starts: Mapping[str, float]) -> tuple[list[Overlap], list[Problem]]:
    """phi of each pair, and what is odd about some; `starts` is phi(p, p) before training by the update's label."""
    names = role_names([a for a, _ in pairs.pairs])
    found, problems = [], []
    for a, b in pairs.pairs:
        V1, V2 = directions(a, which), directions(b, which)
        for update, V, of in ((a, V1, "a"), (b, V2, "b")):
            problems += left_out(update, f"{of}'s {which}", V.shape[1])
        identical = a.A.shape == b.A.shape and torch.equal(a.A, b.A) and torch.equal(a.B, b.B)
        angle, p = principal_angles(V1, V2)[0].rad2deg().item(), min(V1.shape[1], V2.shape[1])
        found.append(Overlap(a.layer, name_of(a, names), a.module, len(V1), similarity(V1, V2), angle,
                             projection_distance(V1[:, :p], V2[:, :p]), starts.get(a.label), identical))
    return found, problems


def by_key(found: Sequence[Overlap]) -> dict[Key, list[Overlap]]:
    """Sites that can be read together: one role, one pair of ranks, one d."""
    groups: dict[Key, list[Overlap]] = {}
    for each in found:
        groups.setdefault(each.key, []).append(each)
    return groups


@dataclass(frozen=True)
class Reading:
    """What the sites of a key say together."""

    means: list[Interval]     # of phi(i, i), i = 1..p
    shared: Shared
    angle: Interval           # smallest, in degrees
    distance: Interval        # of the first p directions


def read(group: Sequence[Overlap], options: Options) -> Reading:
    """Means over sites with bootstrap intervals, and how many leading directions are shared beyond chance."""
    phis = torch.stack([each.phi for each in group])                       # (sites, rank_a, rank_b)
    diagonals = phis.diagonal(dim1=1, dim2=2)                              # (sites, p)
    layers = [each.layer for each in group]
    means = [mean_interval(column.tolist(), groups=layers, level=options.level, seed=options.seed)
             for column in diagonals.T]
    shared = shared_directions(phis, group[0].d, level=options.level, samples=options.samples, seed=options.seed)
    angle, distance = (mean_interval(values, groups=layers, level=options.level, seed=options.seed)
                       for values in ([each.angle for each in group], [each.distance for each in group]))
    return Reading(means, shared, angle, distance)


def study(sources: Sequence[str], roles: Sequence[str] | None, layers: Sequence[int] | None,
          alpha: float | None, fused: Sequence[str] | None, options: Options) -> Study:
    """All of the command, before anything is written. `sources` are a and b."""
    a, b = (read_updates(source, alpha=alpha, fused=fused, factors=options.which != "dW") for source in sources)
    pairs = pair(a, b, roles, layers)
    starts, notes = common_start(sources, pairs)
    found, odd = overlaps(pairs, options.which, starts)
    groups = by_key(found)
    readings = {key: read(group, options) for key, group in groups.items()}
    if all(each.identical for each in found):
        notes.insert(0, "a and b are the same adapter: every similarity is 1, which says nothing")
    elif same := [each.module for each in found if each.identical]:
        odd.append(Problem(same[0], f"is the same in a and b, as {len(same) - 1} others are"))
    names = [short_name(source) for source in sources]
    if names[0] == names[1]:  # as of PEFT's checkpoints, seed0/checkpoint-500 and seed1/checkpoint-500
        names = list(map(str, sources))
    title = f"Subspace similarity of {WHICH[options.which]}: {names[0]} and {names[1]}"
    notes = [*(sentence(key, reading) for key, reading in readings.items()), *notes, *explained(options)]
    figures = {"similarity": _figure(found, names, options.which),
               "shared_directions": draw_shared(readings, groups, title)}
    tables = {"subspace": summary(readings, groups, options), "subspace_sites": sites_table(found, options)}
    return Study("subspace", title, tables, {"subspace_phi": phi_table(found)}, figures, notes, [*pairs.problems, *odd])


def explained(options: Options) -> list[str]:
    return ["φ(i, j) is the share of a's first i directions found in b's first j (equation 4); random subspaces have "
            "max(i, j) / d on average",
            f"shared: leading directions that each add more to i φ(i, i) than {options.level:.0%} of random pairs; "
            f"p is the smaller rank; brackets: {options.level:.0%} bootstrap interval over layers",
            "smallest_angle_degrees: the smallest principal angle between the spans of all of a's and all of b's "
            "directions; chance_angle_degrees: its mean for random spans, 0 where both together exceed d",
            "distance_p: projection metric between the first p directions of both, sqrt(p (1 − φ(p, p))) "
            "(appendix G): 0 for equal spans, sqrt(p) for orthogonal ones"]


def sentence(key: Key, reading: Reading) -> str:
    """The reading of one key in words."""
    role, rank_a, rank_b, d = key
    p, shared = min(rank_a, rank_b), reading.shared
    which = "none is" if shared.leading == 0 else f"the first {shared.leading} of {p} " \
                                                  f"{'is' if shared.leading == 1 else 'are'}"
    sites = "site" if shared.sites == 1 else "sites"
    return (f"{role} (ranks {rank_a} and {rank_b}, {shared.sites} {sites}): {which} shared beyond chance; "
            f"φ(1, 1) is {shown(reading.means[0])}, by chance {1 / d:.2g}; "
            f"φ({p}, {p}) is {shown(reading.means[-1])}, by chance {p / d:.2g}")


def summary(readings: Mapping[Key, Reading], groups: Mapping[Key, Sequence[Overlap]],
            options: Options) -> pd.DataFrame:
    rows = []
    for key, reading in readings.items():
        role, rank_a, rank_b, d = key
        first, last = reading.means[0], reading.means[-1]
        starts = [each.start for each in groups[key] if each.start is not None]
        rows.append({"role": role, "rank_a": rank_a, "rank_b": rank_b, "d": d, "sites": reading.shared.sites,
                     "shared": reading.shared.leading,
                     "phi_1_1": first.mean, "low": first.low, "high": first.high, "chance": 1 / d,
                     "phi_p_p": last.mean, "low_p": last.low, "high_p": last.high, "chance_p": min(rank_a, rank_b) / d,
                     "at_start_p": sum(starts) / len(starts) if starts else None,
                     **angles(reading.angle.mean, reading.distance.mean, key, options)})
    return _frame(rows)


def sites_table(found: Sequence[Overlap], options: Options) -> pd.DataFrame:
    rows = []
    for each in found:
        p = min(each.phi.shape)
        rows.append({"layer": each.layer, "role": each.role, "rank_a": each.phi.shape[0], "rank_b": each.phi.shape[1],
                     "d": each.d, "shared": read([each], options).shared.leading,
                     "phi_1_1": each.phi[0, 0].item(), "chance": 1 / each.d, "phi_p_p": each.last,
                     "chance_p": p / each.d, "at_start_p": each.start,
                     **angles(each.angle, each.distance, each.key, options), "module": each.module})
    return _frame(rows)


def angles(angle: float, distance: float, key: Key, options: Options) -> dict[str, float]:
    """The columns of principal angles: the smallest beside its mean by chance, and the projection metric."""
    _, rank_a, rank_b, d = key
    chance = math.degrees(null_smallest_angle(rank_a, rank_b, d, samples=options.samples, seed=options.seed))
    return {"smallest_angle_degrees": angle, "chance_angle_degrees": chance, "distance_p": distance}


def _frame(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """A table without the columns that are empty in every row; layers stay whole numbers."""
    frame = pd.DataFrame(rows).astype({"layer": "Int64"} if "layer" in rows[0] else {})
    return frame.drop(columns=[column for column in ("at_start_p", "low", "high", "low_p", "high_p")
                               if column in frame and frame[column].isna().all()])


def _figure(found: Sequence[Overlap], names: Sequence[str], which: str) -> Figure:
    widths = " and ".join(dict.fromkeys(f"{each.d}" for each in found))
    few = len({each.role for each in found}) <= 2
    zoom = few and max(max(each.phi.shape) for each in found) > CORNER
    caption = (f"φ(i, j) of {WHICH[which]}. Directions i: {names[0]}; directions j: {names[1]}. "
               f"Last row: random subspaces of {widths} dimensions, max(i, j) / d on average.")
    return draw_similarity(found, Drawn(spread([each.layer for each in found]), zoom, None, str, "i", "j"), caption)


@dataclass(frozen=True)
class Drawn:
    """Which heat maps are drawn, and their words."""

    layers: Sequence[int | None]
    zoom: bool                   # beside each its corner
    random: Tensor | None        # phi of two random matrices, a further column
    title: Callable[[str], str]  # of a role's panel
    i: str                       # of the axes
    j: str


def draw_similarity(found: Sequence[Overlap], drawn: Drawn, caption: str) -> Figure:
    """Heat maps of phi, a row for each layer and a column for each role; in the last row what chance gives."""
    roles = list(dict.fromkeys(each.role for each in found))
    by_site = {(each.layer, each.role): each for each in found}

    def row(phis: Mapping[str, Tensor], random: Tensor | None) -> list[Panel]:
        panels = [Panel(drawn.title(role), phis.get(role)) for role in roles]
        if drawn.zoom:
            panels += [Panel(f"{drawn.title(role)}, j ≤ i ≤ {CORNER}", phis.get(role), corner=True) for role in roles]
        return panels if random is None else [*panels, Panel("random Gaussian", random)]

    rows = {place(layer): row({role: by_site[layer, role].phi for role in roles if (layer, role) in by_site},
                              drawn.random) for layer in drawn.layers}
    chance = {each.role: expected_similarity(each.phi.shape[0], each.phi.shape[1], each.d) for each in reversed(found)}
    rows["by chance"] = row(chance, None if drawn.random is None else chance[roles[0]])
    return similarity_figure(rows, caption, drawn.i, drawn.j)


def draw_shared(readings: Mapping[Key, Reading], groups: Mapping[Key, Sequence[Overlap]], title: str) -> Figure:
    columns = {}
    for (role, rank_a, rank_b, d), reading in readings.items():
        again = sum(key[0] == role for key in readings) > 1
        columns[f"{role}, ranks {rank_a} and {rank_b}" if again else role] = (reading.means, reading.shared, d)
    count = max(len(group) for group in groups.values())
    level = next(iter(readings.values())).shared.level
    sites = f" Mean over {count} sites, band: {level:.0%} bootstrap interval over layers." if count > 1 else ""
    return shared_figure(columns, f"{title}.{sites}")
