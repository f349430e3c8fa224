"""Figures of section 7 and appendix H, from arrays: similarity heat maps, shared directions, amplification.

Each takes numbers and gives a matplotlib Figure; nothing is read or written. Similarities of a figure have one scale,
and beside them stands what random subspaces give, max(i, j) / d on average, which at small d is far from 0.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from analysis.figures.lines import LINES, dots, ticks
from analysis.figures.style import COLOURS, COLUMN, DOUBLE, GREY, add_caption, new_figure, styled
from analysis.linalg.statistics import Interval, Shared

BAR = 0.13    # inches, the width of a colour bar
CORNER = 8  # the paper's zoomed panels show the lower-left triangle of i, j = 1..8


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


def highest(rows: Mapping[str, Sequence[Panel]]) -> float:
    """End of a scale from 0 that has every similarity drawn: the highest, rounded up to a multiple of 0.05."""
    drawn = [phi for panels in rows.values() for panel in panels if (phi := panel.drawn) is not None]
    most = max(float(np.nanmax(phi)) for phi in drawn)
    return min(1.0, max(1, math.ceil(20 * most - 1e-9)) / 20)


def similarity_figure(rows: Mapping[str, Sequence[Panel]], caption: str, i: str, j: str) -> Figure:
    """Heat maps of phi(i, j), a row of panels for each key; `i` and `j` say whose directions the axes count.

    All have one scale of colours, from 0 to the highest similarity drawn.
    """
    with styled():
        columns = max(len(panels) for panels in rows.values())
        square = all(phi is None or phi.shape[0] == phi.shape[1]
                     for panels in rows.values() for panel in panels for phi in [panel.drawn])
        width, side = _size(len(rows), columns, square)
        height, top = 0.5 + side * len(rows), highest(rows)
        figure = new_figure(height, width)
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
        figure.colorbar(ScalarMappable(scale), ax=grid, label=f"similarity φ(i, j), 0 to {top:g}", fraction=0.03,
                        pad=0.01, aspect=height / BAR)
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


def _with_band(axes: Axes, i: np.ndarray, means: Sequence[Interval], label: str) -> None:
    """Means over i with their intervals."""
    axes.plot(i, [interval.mean for interval in means], marker=dots(len(i)), color=COLOURS[0], label=label)
    if all(interval.low is not None for interval in means):
        low, high = ([getattr(interval, end) for interval in means] for end in ("low", "high"))
        axes.fill_between(i, low, high, color=COLOURS[0], alpha=0.2, linewidth=0)


