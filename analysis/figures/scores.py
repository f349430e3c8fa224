"""Figure 2: score by the number of trainable parameters, from numbers to a matplotlib Figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from analysis.figures.style import COLOURS, COLUMN, DOUBLE, MARKERS, add_caption, new_figure, styled


@dataclass(frozen=True)
class Point:
    """One size of a method: trainable parameters, score, its spread over seeds where there are several, its targets."""

    parameters: float
    score: float
    spread: float | None = None
    targets: str = ""


@dataclass(frozen=True)
class Scores:
    """One panel: the points of each method, and what they are scores of."""

    title: str
    metric: str
    methods: Mapping[str, Sequence[Point]]


def sizes_figure(rows: Sequence[Sequence[Scores]], caption: str) -> Figure:
    """Panels in rows, a line for each method and its targets over its sizes, from the smallest.

    Whiskers are the spread, where it is known. A method has one colour and marker in all panels. Parameters are on a
    logarithmic scale.
    """
    methods = list(dict.fromkeys(method for row in rows for panel in row for method in panel.methods))
    with styled():
        figure = new_figure(0.5 + 1.9 * len(rows), DOUBLE)
        grid = figure.subplots(len(rows), max(map(len, rows)), squeeze=False)
        for line, row in zip(grid, rows, strict=True):
            for axes, panel in zip(line, row, strict=False):
                for method, points in panel.methods.items():
                    _draw(axes, method, points, methods.index(method))
                axes.set(title=panel.title, ylabel=panel.metric, xscale="log")
                axes.grid()
            for axes in line[len(row):]:
                axes.set_axis_off()
        for axes in grid[-1]:
            axes.set_xlabel("trainable parameters")
        named = {label: handle for axes in grid.flat
                 for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend([named[method] for method in methods if method in named],
                      [method for method in methods if method in named], loc="outside upper center", ncols=5)
        add_caption(figure, caption)
    return figure


def _draw(axes: Axes, method: str, points: Sequence[Point], place: int) -> None:
    """The lines of a method, which has the colour and marker of its place among all."""
    colour, marker = COLOURS[place % len(COLOURS)], MARKERS[(place + place // len(COLOURS)) % len(MARKERS)]
    for number, targets in enumerate(dict.fromkeys(point.targets for point in points)):
        line = sorted((point for point in points if point.targets == targets), key=lambda point: point.parameters)
        axes.plot([point.parameters for point in line], [point.score for point in line], color=colour, marker=marker,
                  label=None if number else method)
        if known := [(point, point.spread) for point in line if point.spread is not None]:
            axes.errorbar([point.parameters for point, _ in known], [point.score for point, _ in known], fmt="none",
                          yerr=[spread for _, spread in known], ecolor=colour, capsize=2)



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
