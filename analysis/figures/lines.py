"""Curves over directions and over layers, and the axes that figures share."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from analysis.figures.style import COLOURS, GREY, MARKERS

LINES: dict[str, Any] = {"linestyle": "--", "color": GREY, "linewidth": 0.9}
Tensors = Mapping[str, Mapping[int | None, Tensor]]  # (k,) by role and layer


def spread(layers: Sequence[int | None], count: int = 4) -> list[int | None]:
    """The first layer, the last, and those that divide the depth evenly between them, as figures 6 and 7 have."""
    layers = list(dict.fromkeys(layers))
    places = np.linspace(0, len(layers) - 1, min(count, len(layers)))
    return [layers[round(place)] for place in places]


def ticks(rank: int) -> list[int]:
    """1, the rank, and up to three in between."""
    step = 1 if rank <= 5 else round(rank / (2 if rank <= 12 else 4))
    return [1, *(tick for tick in range(step, rank, step) if 1 < tick <= rank - step / 2), *([rank] * (rank > 1))]


def dots(count: int) -> str:
    """The marker of a line of so many points: none where they would run into each other."""
    return "o" if count <= 16 else ""


def over_layers(axes: Axes, values: Mapping[int | None, float], place: int, label: str, **options: Any) -> None:
    """A line over the numbered layers; what is outside them has no place on the axis."""
    layers = [layer for layer in values if layer is not None]
    given = {"marker": MARKERS[place % len(MARKERS)], "color": COLOURS[place % len(COLOURS)]} | options
    axes.plot(layers, [values[layer] for layer in layers], label=label, **given)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


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
    """A colour bar for the layers, where there are several."""
    if len(set(layers) - {None}) > 1:
        bar = figure.colorbar(layer_colours(layers), ax=axes, label="layer", fraction=0.05, pad=0.01)
        bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
