"""Figures of section 7 and appendix H, from arrays: similarity heat maps, shared directions, amplification.

Each takes numbers and gives a matplotlib Figure; nothing is read or written. Similarities of a figure have one scale,
and beside them stands what random subspaces give, max(i, j) / d on average, which at small d is far from 0.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from torch import Tensor

from analysis.statistics import Interval, Shared
from analysis.style import COLOURS, COLUMN, DOUBLE, GREY, MARKERS, add_caption, new_figure, styled

CORNER = 8  # the paper's zoomed panels show the lower-left triangle of i, j = 1..8
LINES: dict[str, Any] = {"linestyle": "--", "color": GREY, "linewidth": 0.9}
Tensors = Mapping[str, Mapping[int | None, Tensor]]  # (k,) by role and layer


@dataclass(frozen=True)
class Panel:
    """One heat map of phi(i, j): i downwards, j to the right, both from 1. None where there is nothing to show."""

    title: str
    phi: Tensor | None   # (rank1, rank2)
    corner: bool = False  # the triangle j <= i <= CORNER only

    @property
    def drawn(self) -> np.ndarray | None:
        """The numbers shown; those above a corner's diagonal are NaN, and stay empty."""
        if self.phi is None:
            return None
        if not self.corner:
            return self.phi.numpy()
        near = self.phi[:CORNER, :CORNER]
        return near.masked_fill(torch.ones_like(near).triu(1).bool(), torch.nan).numpy()


def spread(layers: Sequence[int | None], count: int = 4) -> list[int | None]:
    """The first layer, the last, and those that divide the depth evenly between them, as figures 6 and 7 have."""
    layers = list(dict.fromkeys(layers))
    places = np.linspace(0, len(layers) - 1, min(count, len(layers)))
    return [layers[round(place)] for place in places]


def highest(rows: Mapping[str, Sequence[Panel]]) -> float:
    """End of a scale from 0 that has every similarity drawn: the highest, rounded up to a multiple of 0.05."""
    drawn = [phi for panels in rows.values() for panel in panels if (phi := panel.drawn) is not None]
    most = max(float(np.nanmax(phi)) for phi in drawn)
    return min(1.0, max(1, math.ceil(20 * most - 1e-9)) / 20)


def similarity_figure(rows: Mapping[str, Sequence[Panel]], caption: str, i: str, j: str, top: float = 1.0) -> Figure:
    """Heat maps of phi(i, j), a row of panels for each key; `i` and `j` say whose directions the axes count.

    All have one scale of colours, from 0 to `top`.
    """
    with styled():
        columns = max(len(panels) for panels in rows.values())
        square = all(phi is None or phi.shape[0] == phi.shape[1]
                     for panels in rows.values() for panel in panels for phi in [panel.drawn])
        width, side = _size(len(rows), columns, square)
        figure = new_figure(0.5 + side * len(rows), width)
        grid = figure.subplots(len(rows), columns, squeeze=False)
        for axes, panel in zip(grid[0], next(iter(rows.values())), strict=False):
            axes.set_title(panel.title)
        scale = Normalize(0, top)
        for line, (label, panels) in zip(grid, rows.items(), strict=True):
            for axes, panel in zip(line, panels, strict=False):
                _heat_map(axes, panel, scale, square)
            for axes in line[len(panels):]:
                axes.set_axis_off()
            line[0].set_ylabel(f"{label}\n{i}")
        for axes in grid[-1]:
            axes.set_xlabel(j)
        figure.colorbar(ScalarMappable(scale), ax=grid, label="similarity φ(i, j)", fraction=0.03, pad=0.01)
        add_caption(figure, caption)
    return figure


def _size(rows: int, columns: int, square: bool) -> tuple[float, float]:
    """Width of a figure of heat maps and height of a row, in inches: square ones leave no room between columns."""
    side = 1.2 if rows > 2 else 1.5
    if not square:
        return DOUBLE if columns > 1 else COLUMN, side
    beside = 1.1  # labels and the colour bar
    side = min(side, (DOUBLE - beside) / columns)
    return max(COLUMN, beside + side * columns), side


def _heat_map(axes: Axes, panel: Panel, scale: Normalize, square: bool) -> None:
    phi = panel.drawn
    if phi is None:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "not compared", ha="center", va="center", color=GREY, transform=axes.transAxes)
        return
    rank1, rank2 = phi.shape
    axes.imshow(phi, origin="upper", norm=scale, aspect="equal" if square else "auto", interpolation="nearest",
                extent=(0.5, rank2 + 0.5, rank1 + 0.5, 0.5))
    axes.set(xticks=ticks(rank2), yticks=ticks(rank1))


def ticks(rank: int) -> list[int]:
    """1, the rank, and up to three in between."""
    step = 1 if rank <= 5 else round(rank / (2 if rank <= 12 else 4))
    return [1, *(tick for tick in range(step, rank, step) if 1 < tick <= rank - step / 2), *([rank] * (rank > 1))]


def shared_figure(roles: Mapping[str, tuple[Sequence[Interval], Shared, int]], caption: str) -> Figure:
    """phi(i, i) averaged over sites, and what each direction adds to it, beside chance: a column for each role.

    By role: the means and their intervals for i = 1..p, the same with its quantiles by chance, and d.
    """
    with styled():
        width = min(DOUBLE, 1.2 + 2.2 * len(roles))
        figure = new_figure(3.6, max(width, COLUMN))
        grid = figure.subplots(2, len(roles), squeeze=False, sharex="col", sharey="row")
        for (top, bottom), (role, (means, shared, d)) in zip(grid.T, roles.items(), strict=True):
            i = np.arange(1, len(means) + 1)
            _with_band(top, i, means, "one site" if shared.sites == 1 else f"mean of {shared.sites} sites")
            top.plot(i, i / d, label="chance: mean", **LINES)
            quantile = f"chance: {shared.level:.0%} of draws below"
            top.plot(i, shared.phi_chance.numpy(), color=GREY, linestyle=":", label=quantile)
            top.set(title=role, ylim=(0, 1.02))
            bottom.plot(i, shared.gain.numpy(), marker=dots(len(i)), color=COLOURS[0])
            bottom.plot(i, shared.gain_chance.numpy(), color=GREY, linestyle=":")
            bottom.set(xlabel="direction i", xticks=ticks(len(i)))
            for axes in (top, bottom):
                axes.grid()
        grid[0, 0].set_ylabel("φ(i, i)")
        grid[1, 0].set_ylabel("what direction i adds\nto i φ(i, i)")
        grid[0, -1].legend(loc="upper right")
        add_caption(figure, caption)
    return figure


def dots(count: int) -> str:
    """The marker of a line of so many points: none where they would run into each other."""
    return "o" if count <= 16 else ""


def _with_band(axes: Axes, i: np.ndarray, means: Sequence[Interval], label: str) -> None:
    """Means over i with their intervals."""
    axes.plot(i, [each.mean for each in means], marker=dots(len(i)), color=COLOURS[0], label=label)
    if all(each.low is not None for each in means):
        low, high = ([getattr(each, key) for each in means] for key in ("low", "high"))
        axes.fill_between(i, low, high, color=COLOURS[0], alpha=0.2, linewidth=0)


def over_layers(axes: Axes, values: Mapping[int | None, float], place: int, label: str, **options: Any) -> None:
    """A line over the numbered layers; what is outside them has no place on the axis."""
    layers = [layer for layer in values if layer is not None]
    given = {"marker": MARKERS[place % len(MARKERS)], "color": COLOURS[place % len(COLOURS)]} | options
    axes.plot(layers, [values[layer] for layer in layers], label=label, **given)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


@dataclass(frozen=True)
class Projections:
    """Table 7 for one site with k directions: norms of W seen through dW, its own top ones and random ones."""

    weight: float
    update: float
    through_update: float
    through_weight: float
    through_random: float


NORMS = {  # of Projections: what the legend calls it, its colour and its marker
    "weight": ("‖W‖", GREY, "x"), "through_weight": ("W in its own directions", COLOURS[2], "^"),
    "update": ("‖ΔW‖", COLOURS[1], "s"), "through_update": ("W in ΔW's directions", COLOURS[0], "o"),
    "through_random": ("W in random directions", COLOURS[4], "v")}


def amplification_figure(norms: Mapping[str, Mapping[int | None, Projections]], factors: Tensors, chance: Tensors,
                         caption: str) -> Figure:
    """A column for each role: above, table 7's norms over the layers; below, the factor over k, a line for a layer.

    `chance` has the factor that random directions of W would give, drawn as its mean over layers. Below, the axis
    spans k >= 2: at k = 1 the factor divides by a single u^T W v, which can come as close to 0 as it likes.
    """
    with styled():
        wide = len(norms) > 1
        figure = new_figure(4.3, DOUBLE if wide else COLUMN)
        grid = figure.subplots(2, len(norms), squeeze=False, sharey="row")
        layers = [layer for lines in factors.values() for layer in lines]
        for (top, bottom), role in zip(grid.T, norms, strict=True):
            for key, (label, tint, marker) in NORMS.items():
                values = {layer: getattr(found, key) for layer, found in norms[role].items()}
                over_layers(top, values, 0, label, color=tint, marker=marker)
            top.set(title=role, xlabel="layer", yscale="log")
            over_directions(bottom, factors[role], layer_colours(layers))
            mean = _mean_line(list(chance[role].values()))
            bottom.plot(np.arange(1, len(mean) + 1), mean, label="factor in random directions", **LINES)
            bottom.set(xlabel="first k of ΔW" if len(norms) > 3 else "first k directions of ΔW", yscale="log")
            for axes in (top, bottom):
                axes.grid()
        grid[1, 0].set_ylim(_limits([line for lines in (*factors.values(), *chance.values())
                                     for line in lines.values()]))
        _plain_numbers(grid[1, 0])
        grid[0, 0].set_ylabel("Frobenius norm")
        grid[1, 0].set_ylabel("amplification factor")
        layer_bar(figure, list(grid[1]), layers)
        named = [axes.get_legend_handles_labels() for axes in grid[:, 0]]
        figure.legend(*(above + below for above, below in zip(*named, strict=True)), loc="outside upper center",
                      ncols=3 if wide else 2)
        add_caption(figure, caption)
    return figure


def over_directions(axes: Axes, lines: Mapping[int | None, Tensor], colours: ScalarMappable) -> None:
    """A line for each layer over k = 1, 2, ..., coloured by layer."""
    for layer, line in lines.items():
        colour: Any = GREY if layer is None else colours.to_rgba(np.array(layer))
        axes.plot(np.arange(1, len(line) + 1), line.numpy(), marker=dots(len(line)), markersize=2.5, color=colour)
    axes.set_xticks(ticks(max(len(line) for line in lines.values())))


def layer_colours(layers: Sequence[int | None]) -> ScalarMappable:
    """The colour of each layer, from the first to the last."""
    numbers = [layer for layer in layers if layer is not None] or [0]
    return ScalarMappable(Normalize(min(numbers), max(*numbers, min(numbers) + 1)), cmap="viridis")


def layer_bar(figure: Figure, axes: list[Axes], layers: Sequence[int | None]) -> None:
    """What the colours of several layers mean."""
    if len(set(layers) - {None}) > 1:
        bar = figure.colorbar(layer_colours(layers), ax=axes, label="layer", fraction=0.05, pad=0.01)
        bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _mean_line(lines: Sequence[Tensor]) -> np.ndarray:
    """Mean over lines at each k, of those that are as long."""
    longest = max(len(line) for line in lines)
    return np.array([np.mean([line[k].item() for line in lines if k < len(line)]) for k in range(longest)])


def _limits(lines: Sequence[Tensor]) -> tuple[float, float] | tuple[None, None]:
    """Ends of a logarithmic axis with every point from the second of each line on, or the first of a line of one."""
    values = torch.cat([line[min(1, len(line) - 1):] for line in lines])
    values = values[values.isfinite() & (values > 0)]
    return (values.min().item() / 1.3, values.max().item() * 1.3) if len(values) else (None, None)


def _plain_numbers(axes: Axes) -> None:
    """Ticks of a logarithmic y axis as 0.5 and 20, no closer than a small panel has room for."""
    low, high = axes.get_ylim()
    steps = (1, 2, 5) if high / low <= 300 else (1,)
    axes.yaxis.set_major_locator(LogLocator(subs=steps))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def slowdown_figure(rows: Mapping[str, Mapping[int, pd.DataFrame]], caption: str) -> Figure:
    """Figure 5: slow-down in percent over bottleneck and batch size, a row for each design, a panel for each length.

    A frame has batch sizes as its index and bottlenecks as its columns, and NaN where the figure is blank. One scale
    from 0 for all panels.
    """
    with styled():
        panels = max(len(row) for row in rows.values())
        figure = new_figure(0.4 + 1.7 * len(rows), DOUBLE if panels > 1 else COLUMN)
        grid = figure.subplots(len(rows), panels, squeeze=False, sharex=True, sharey=True)
        highest = max(np.nanmax(frame.to_numpy()) for row in rows.values() for frame in row.values())
        scale = Normalize(0, max(highest, 1.0))
        for axes, length in zip(grid[0], next(iter(rows.values())), strict=True):
            axes.set_title(f"length {length}")
        for line, (design, row) in zip(grid, rows.items(), strict=True):
            for axes, frame in zip(line, row.values(), strict=True):
                _percents(axes, frame, scale)
            line[0].set_ylabel(f"{design}\nbatch size")
        for axes in grid[-1]:
            axes.set_xlabel("bottleneck")
        figure.colorbar(ScalarMappable(scale), ax=grid, label="slow-down, %", fraction=0.03, pad=0.01)
        add_caption(figure, caption)
    return figure


def _percents(axes: Axes, frame: pd.DataFrame, scale: Normalize) -> None:
    """A heat map with its numbers, black where the colour is light."""
    values = frame.to_numpy()
    axes.imshow(values, norm=scale, aspect="auto", interpolation="nearest")
    axes.set_xticks(range(values.shape[1]), [str(column) for column in frame.columns])
    axes.set_yticks(range(values.shape[0]), [str(index) for index in frame.index])
    for (i, j), value in np.ndenumerate(values):
        if np.isnan(value):
            continue
        colour = "black" if scale(value) > 0.6 else "white"
        axes.text(j, i, f"{value:.1f}", ha="center", va="center", color=colour, fontsize=7)
