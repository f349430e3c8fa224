"""Table 7 as a figure: norms of W in the directions of dW, of W itself, and of random matrices."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from torch import Tensor

from analysis.figures.lines import LINES, Tensors, layer_bar, layer_colours, over_directions, over_layers
from analysis.figures.style import COLOURS, COLUMN, DOUBLE, GREY, add_caption, new_figure, styled


@dataclass(frozen=True)
class Projections:
    """Table 7 for one site with k directions: norms of W seen through those of dW, its own first and random ones."""

    weight: float
    update: float
    through_update: float
    through_weight: float
    through_random: float  # root mean square

    @property
    def factor(self) -> float:
        """||dW|| over W in the directions of dW; inf where dW acts where W is zero."""
        return self.update / self.through_update if self.through_update else math.inf

    @property
    def factor_random(self) -> float:
        """The factor of a dW as large in random directions."""
        return self.update / self.through_random

    @property
    def over_random(self) -> float:
        """W in the directions of dW over W in random ones."""
        return self.through_update / self.through_random

    @property
    def over_own(self) -> float:
        """W in the directions of dW over W in its own first ones, 0 to 1."""
        return self.through_update / self.through_weight


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
                values = {layer: getattr(site, key) for layer, site in norms[role].items()}
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
        legends = [axes.get_legend_handles_labels() for axes in grid[:, 0]]
        figure.legend(*(above + below for above, below in zip(*legends, strict=True)), loc="outside upper center",
                      ncols=3 if wide else 2)
        add_caption(figure, caption)
    return figure


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
