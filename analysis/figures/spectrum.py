"""Figures of what updates are made of, from arrays: singular values, ranks and norms by layer, energy by direction.

Each takes numbers and gives a matplotlib Figure; nothing is read or written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from analysis.figures.lines import LINES, Tensors, layer_bar, layer_colours, over_directions, over_layers, ticks
from analysis.figures.style import COLUMN, DOUBLE, add_caption, new_figure, styled

Lines = Mapping[str, Mapping[int | None, float]]  # by role and layer


@dataclass(frozen=True)
class Measure:
    """A number of each site, over the layers: a panel of lines, one a role."""

    label: str
    values: Lines
    log: bool = False
    least: float | None = None   # where its axis begins
    most: float | None = None    # the largest that it could be, as a dashed line


def layers_figure(measures: Sequence[Measure], caption: str) -> Figure:
    """A panel for each measure, over the layers, a line for each role."""
    with styled():
        figure = new_figure(2.2, DOUBLE if len(measures) > 1 else COLUMN)
        grid = figure.subplots(1, len(measures), squeeze=False)[0]
        for axes, measure in zip(grid, measures, strict=True):
            for place, (role, values) in enumerate(measure.values.items()):
                over_layers(axes, values, place, role)
            if measure.most is not None:
                axes.axhline(measure.most, **LINES)
            if measure.log:
                axes.set_yscale("log")
            if measure.least is not None:
                axes.set_ylim(bottom=measure.least)
            axes.set(xlabel="layer", ylabel=measure.label)
            axes.grid()
        grid[0].legend()
        add_caption(figure, caption)
    return figure


def spectrum_figure(spectra: Tensors, caption: str) -> Figure:
    """Singular values over the first, sigma_k / sigma_1, a panel for each role, a line for each layer."""
    with styled():
        figure = new_figure(2.4, max(COLUMN, min(DOUBLE, 1.0 + 2.6 * len(spectra))))
        grid = figure.subplots(1, len(spectra), squeeze=False, sharey=True)[0]
        layers = [layer for lines in spectra.values() for layer in lines]
        for axes, (role, lines) in zip(grid, spectra.items(), strict=True):
            over_directions(axes, {layer: S / S[0] for layer, S in lines.items()}, layer_colours(layers))
            axes.set(title=role, xlabel="k", yscale="log")
            axes.grid()
        grid[0].set_ylabel("σ(k) / σ(1) of ΔW")
        layer_bar(figure, list(grid), layers)
        add_caption(figure, caption)
    return figure


def energy_figure(roles: Mapping[str, Mapping[int | None, Tensor]], caption: str) -> Figure:
    """Share of ||dW||_F^2 in the first k directions, layers downwards and k to the right: a heat map for each role."""
    with styled():
        figure = new_figure(2.4, max(COLUMN, min(DOUBLE, 1.0 + 2.6 * len(roles))))
        grid = figure.subplots(1, len(roles), squeeze=False, sharey=True)[0]
        for axes, (role, energies) in zip(grid, roles.items(), strict=True):
            ranks = max(len(energy) for energy in energies.values())
            shares = np.ones((len(energies), ranks))  # a lower rank has all of its energy in fewer directions
            for line, energy in zip(shares, energies.values(), strict=True):
                line[:len(energy)] = energy.numpy()
            axes.imshow(shares, vmin=0, vmax=1, aspect="auto", interpolation="nearest",
                        extent=(0.5, ranks + 0.5, len(energies) - 0.5, -0.5))
            axes.set(title=role, xlabel="first k directions", xticks=ticks(ranks))
            axes.set_yticks(range(len(energies)), ["–" if layer is None else str(layer) for layer in energies])
            axes.yaxis.set_tick_params(labelsize=5 if len(energies) > 16 else 7)
        grid[0].set_ylabel("layer")
        figure.colorbar(ScalarMappable(Normalize(0, 1)), ax=list(grid), label="share of ‖ΔW‖²", pad=0.02)
        add_caption(figure, caption)
    return figure
