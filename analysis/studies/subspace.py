"""phi(i, j) between two adapters' updates of the same matrices (sections 7.2 and H.3): each site, and all together."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from analysis.adapters.pair import Pairs
from analysis.adapters.updates import Problem, Update
from analysis.figures.lines import spread
from analysis.figures.similarity import CORNER, Panel, shared_figure, similarity_figure
from analysis.linalg.chance import null_smallest_angle
from analysis.linalg.similarity import (
    expected_similarity,
    left_singular,
    principal_angles,
    projection_distance,
    right_singular,
    similarity,
)
from analysis.linalg.singular import determined, numerical_rank, update_svd
from analysis.linalg.statistics import Interval, Shared, mean_interval, shared_directions
from analysis.studies.choices import WHICH, SubspaceOptions
from analysis.studies.study import (
    Study,
    interval_text,
    interval_words,
    layer_name,
    left_out,
    name_of,
    phi_table,
    role_names,
)

Key = tuple[str, int, int, int]  # role, ranks and d: the sites of a key are read together


@dataclass(frozen=True)
class Comparison:
    """Two adapters to compare: their pairs of updates, and what their runs had in common before training."""

    sources: tuple[str, str]     # a and b
    pairs: Pairs
    starts: Mapping[str, float]  # phi(p, p) of the two A before training by the update's label, for runs of one seed
    notes: Sequence[str]         # on the seeds: one seed, or seeds that are not known


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


def directions(update: Update, which: str) -> Tensor:
    """Orthonormal directions of an update (d, rank), without those whose singular value is zero to rounding."""
    if which == "dW":
        return determined(update_svd(update.A, update.B)).V
    if which == "A":
        V, S = right_singular(update.A), torch.linalg.svdvals(update.A.double())
    else:
        V, S = left_singular(update.B), torch.linalg.svdvals(update.B.double())
    return V[:, :numerical_rank(S)]


def overlaps(comparison: Comparison, which: str) -> tuple[list[Overlap], list[Problem]]:
    """phi of each pair, in their order, and a problem where directions are left out."""
    pairs = comparison.pairs.pairs
    names = role_names([a for a, _ in pairs])
    sites, problems = [], []
    for a, b in pairs:
        V1, V2 = directions(a, which), directions(b, which)
        for update, V, side in ((a, V1, "a"), (b, V2, "b")):
            problems += left_out(update, f"{side}'s {which}", V.shape[1])
        identical = a.A.shape == b.A.shape and torch.equal(a.A, b.A) and torch.equal(a.B, b.B)
        angle, p = principal_angles(V1, V2)[0].rad2deg().item(), min(V1.shape[1], V2.shape[1])
        sites.append(Overlap(a.layer, name_of(a, names), a.module, len(V1), similarity(V1, V2), angle,
                             projection_distance(V1[:, :p], V2[:, :p]), comparison.starts.get(a.label), identical))
    return sites, problems


def by_key(sites: Sequence[Overlap]) -> dict[Key, list[Overlap]]:
    """Sites that can be read together: one role, one pair of ranks, one d."""
    groups: dict[Key, list[Overlap]] = {}
    for site in sites:
        groups.setdefault(site.key, []).append(site)
    return groups


@dataclass(frozen=True)
class Reading:
    """The statistics of the sites of a key together."""

    means: list[Interval]     # of phi(i, i), i = 1..p
    shared: Shared
    angle: Interval           # smallest, in degrees
    distance: Interval        # of the first p directions


def read(group: Sequence[Overlap], options: SubspaceOptions) -> Reading:
    """Means over sites with bootstrap intervals, and how many leading directions are shared beyond chance."""
    phis = torch.stack([site.phi for site in group])                       # (sites, rank_a, rank_b)
    diagonals = phis.diagonal(dim1=1, dim2=2)                              # (sites, p)
    layers = [site.layer for site in group]
    means = [mean_interval(column.tolist(), groups=layers, level=options.level, seed=options.seed)
             for column in diagonals.T]
    angle, distance = (mean_interval(values, groups=layers, level=options.level, seed=options.seed)
                       for values in ([site.angle for site in group], [site.distance for site in group]))
    return Reading(means, shared_by(group, options), angle, distance)


def shared_by(group: Sequence[Overlap], options: SubspaceOptions) -> Shared:
    """The leading directions that the sites of a key share, beside chance."""
    phis = torch.stack([site.phi for site in group])
    return shared_directions(phis, group[0].d, level=options.level, samples=options.samples, seed=options.seed)


def subspace_study(comparison: Comparison, captions: Sequence[str], options: SubspaceOptions) -> Study:
    """All of the command, before anything is written. `captions` are what titles call a and b."""
    sites, problems = overlaps(comparison, options.which)
    notes = list(comparison.notes)
    if all(site.identical for site in sites):
        notes.insert(0, "a and b are the same adapter: every similarity is 1, which says nothing")
    elif same := [site.module for site in sites if site.identical]:
        problems.append(Problem(same[0], f"is the same in a and b, as {len(same) - 1} others are"))
    groups = by_key(sites)
    readings = {key: read(group, options) for key, group in groups.items()}
    if captions[0] == captions[1]:  # as of PEFT's checkpoints, seed0/checkpoint-500 and seed1/checkpoint-500
        captions = comparison.sources
    title = f"Subspace similarity of {WHICH[options.which]}: {captions[0]} and {captions[1]}"
    notes = [*(sentence(key, reading) for key, reading in readings.items()), *notes, *explained(sites, options)]
    figures = {"similarity": _figure(sites, captions, options.which),
               "shared_directions": draw_shared(readings, groups, title)}
    tables = {"subspace": summary(readings, groups, options), "subspace_sites": sites_table(sites, options)}
    return Study("subspace", title, tables, {"subspace_phi": phi_table(sites)}, figures, notes,
                 [*comparison.pairs.problems, *problems])


def explained(sites: Sequence[Overlap], options: SubspaceOptions) -> list[str]:
    """The columns of the tables in words."""
    brackets = interval_words(options.level, [site.layer for site in sites])
    return ["φ(i, j) is the share of a's first i directions found in b's first j (equation 4); random subspaces have "
            "max(i, j) / d on average",
            f"shared: leading directions that each add more to i φ(i, i) than {options.level:.0%} of random pairs; "
            f"p is the smaller rank; brackets: {brackets}",
            "smallest_angle_degrees: the smallest principal angle between the spans of all of a's and all of b's "
            "directions; chance_angle_degrees: its mean for random spans, 0 where both together exceed d",
            "distance_p: projection metric between the first p directions of both, sqrt(p (1 − φ(p, p))) "
            "(appendix G): 0 for equal spans, sqrt(p) for orthogonal ones"]


def sentence(key: Key, reading: Reading) -> str:
    """The reading of one key in words."""
    role, rank_a, rank_b, d = key
    p, shared = min(rank_a, rank_b), reading.shared
    verb = "is" if shared.leading == 1 else "are"
    which = "none is" if shared.leading == 0 else f"the first {shared.leading} of {p} {verb}"
    sites = "site" if shared.sites == 1 else "sites"
    return (f"{role} (ranks {rank_a} and {rank_b}, {shared.sites} {sites}): {which} shared beyond chance; "
            f"φ(1, 1) is {interval_text(reading.means[0])}, by chance {1 / d:.2g}; "
            f"φ({p}, {p}) is {interval_text(reading.means[-1])}, by chance {p / d:.2g}")


def summary(readings: Mapping[Key, Reading], groups: Mapping[Key, Sequence[Overlap]],
            options: SubspaceOptions) -> pd.DataFrame:
    rows = []
    for key, reading in readings.items():
        role, rank_a, rank_b, d = key
        first, last = reading.means[0], reading.means[-1]
        starts = [site.start for site in groups[key] if site.start is not None]
        rows.append({"role": role, "rank_a": rank_a, "rank_b": rank_b, "d": d, "sites": reading.shared.sites,
                     "shared": reading.shared.leading,
                     "phi_1_1": first.mean, "low": first.low, "high": first.high, "chance": 1 / d,
                     "phi_p_p": last.mean, "low_p": last.low, "high_p": last.high, "chance_p": min(rank_a, rank_b) / d,
                     "at_start_p": sum(starts) / len(starts) if starts else None,
                     **angles(reading.angle.mean, reading.distance.mean, key, options)})
    return _frame(rows)


def sites_table(sites: Sequence[Overlap], options: SubspaceOptions) -> pd.DataFrame:
    rows = []
    for site in sites:
        p = min(site.phi.shape)
        rows.append({"layer": site.layer, "role": site.role, "rank_a": site.phi.shape[0], "rank_b": site.phi.shape[1],
                     "d": site.d, "shared": shared_by([site], options).leading,
                     "phi_1_1": site.phi[0, 0].item(), "chance": 1 / site.d, "phi_p_p": site.last,
                     "chance_p": p / site.d, "at_start_p": site.start,
                     **angles(site.angle, site.distance, site.key, options), "module": site.module})
    return _frame(rows)


def angles(angle: float, distance: float, key: Key, options: SubspaceOptions) -> dict[str, float]:
    """The columns of principal angles: the smallest beside its mean by chance, and the projection metric."""
    _, rank_a, rank_b, d = key
    chance = math.degrees(null_smallest_angle(rank_a, rank_b, d, samples=options.samples, seed=options.seed))
    return {"smallest_angle_degrees": angle, "chance_angle_degrees": chance, "distance_p": distance}


def _frame(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """A table without the columns that are empty in every row; layers stay whole numbers."""
    frame = pd.DataFrame(rows).astype({"layer": "Int64"} if "layer" in rows[0] else {})
    return frame.drop(columns=[column for column in ("at_start_p", "low", "high", "low_p", "high_p")
                               if column in frame and frame[column].isna().all()])


def _figure(sites: Sequence[Overlap], captions: Sequence[str], which: str) -> Figure:
    widths = " and ".join(dict.fromkeys(f"{site.d}" for site in sites))
    few = len({site.role for site in sites}) <= 2
    zoom = few and max(max(site.phi.shape) for site in sites) > CORNER
    caption = (f"φ(i, j) of {WHICH[which]}. Directions i: {captions[0]}; directions j: {captions[1]}. "
               f"Last row: random subspaces of {widths} dimensions, max(i, j) / d on average.")
    return draw_similarity(sites, Drawn(spread([site.layer for site in sites]), zoom, None, str, "i", "j"), caption)


@dataclass(frozen=True)
class Drawn:
    """The heat maps that are drawn, and their words."""

    layers: Sequence[int | None]
    zoom: bool                   # beside each its corner
    random: Tensor | None        # phi of two random matrices, a further column
    title: Callable[[str], str]  # of a role's panel
    i: str                       # of the axes
    j: str


def draw_similarity(sites: Sequence[Overlap], drawn: Drawn, caption: str) -> Figure:
    """Heat maps of phi, a row for each layer and a column for each role; in the last row what chance gives."""
    roles = list(dict.fromkeys(site.role for site in sites))
    by_site = {(site.layer, site.role): site for site in sites}

    def row(phis: Mapping[str, Tensor], random: Tensor | None) -> list[Panel]:
        panels = [Panel(drawn.title(role), phis.get(role)) for role in roles]
        if drawn.zoom:
            panels += [Panel(f"{drawn.title(role)}, j ≤ i ≤ {CORNER}", phis.get(role), corner=True) for role in roles]
        return panels if random is None else [*panels, Panel("random Gaussian", random)]

    rows = {layer_name(layer): row({role: by_site[layer, role].phi for role in roles if (layer, role) in by_site},
                                   drawn.random) for layer in drawn.layers}
    chance = {site.role: expected_similarity(site.phi.shape[0], site.phi.shape[1], site.d) for site in reversed(sites)}
    rows["by chance"] = row(chance, None if drawn.random is None else chance[roles[0]])
    return similarity_figure(rows, caption, drawn.i, drawn.j)


def draw_shared(readings: Mapping[Key, Reading], groups: Mapping[Key, Sequence[Overlap]], title: str) -> Figure:
    columns = {}
    for (role, rank_a, rank_b, d), reading in readings.items():
        several = sum(key[0] == role for key in readings) > 1
        columns[f"{role}, ranks {rank_a} and {rank_b}" if several else role] = (reading.means, reading.shared, d)
    largest = max(groups.values(), key=len)
    level = next(iter(readings.values())).shared.level
    band = interval_words(level, [site.layer for site in largest])
    sites = f" Mean over {len(largest)} sites, band: {band}." if len(largest) > 1 else ""
    return shared_figure(columns, f"{title}.{sites}")
