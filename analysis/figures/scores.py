"""Figure 2, score by the number of trainable parameters; and figure 5, slow-down by bottleneck and batch size."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from analysis.figures.style import COLOURS, COLUMN, DOUBLE, MARKERS, add_caption, new_figure, styled

STEP = 0.012  # of an axis: points of several methods that are closer stand side by side, so far apart
LINE_STYLES = ("-", "--", ":", "-.")  # of a method's targets


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


def sizes_figure(rows: Sequence[Sequence[Scores]], caption: str, *, joined: bool = True) -> Figure:
    """Panels in rows, a line for each method and its targets over its sizes, from the smallest; or points alone.

    Whiskers are the spread, where it is known. A method has one colour and marker in all panels, its targets have
    line styles; each row has a legend of its own. Parameters are on a logarithmic scale.
    """
    methods = list(dict.fromkeys(method for row in rows for panel in row for method in panel.methods))
    with styled():
        figure = new_figure(0.3 + 2.2 * len(rows), DOUBLE)
        parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
        for part, row in zip(parts, rows, strict=True):
            grid = part.subplots(1, max(map(len, rows)), squeeze=False)[0]
            for axes, panel in zip(grid, row, strict=False):
                _draw_panel(axes, panel, methods, joined)
            for axes in grid[len(row):]:
                axes.set_axis_off()
            handles = {label: handle for axes in grid
                       for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
            part.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=5)
        add_caption(figure, f"{caption} Methods of one size stand side by side.")
    return figure


def _draw_panel(axes: Axes, panel: Scores, methods: Sequence[str], joined: bool) -> None:
    """The lines of every method, or its points alone; it has the colour and marker of its place among all."""
    places = side_by_side(panel.methods)
    for method in (method for method in methods if method in panel.methods):
        place, points = methods.index(method), panel.methods[method]
        colour, marker = COLOURS[place % len(COLOURS)], MARKERS[(place + place // len(COLOURS)) % len(MARKERS)]
        targets = dict.fromkeys(point.targets for point in points)
        for number, target in enumerate(targets):
            line = sorted((point for point in points if point.targets == target), key=lambda point: point.parameters)
            x, scores = [places[method, point.parameters] for point in line], [point.score for point in line]
            style = LINE_STYLES[number % len(LINE_STYLES)] if joined else "none"
            axes.plot(x, scores, color=colour, marker=marker, linestyle=style,
                      label=f"{method} ({target})" if len(targets) > 1 else method)
            if whiskers := [(at, point.score, point.spread) for at, point in zip(x, line, strict=True)
                            if point.spread is not None]:
                at, score, spread = zip(*whiskers, strict=True)
                axes.errorbar(at, score, fmt="none", yerr=spread, ecolor=colour, capsize=2)
    axes.set(title=panel.title, xlabel="trainable parameters", ylabel=panel.metric, xscale="log")
    axes.grid()


def side_by_side(methods: Mapping[str, Sequence[Point]]) -> dict[tuple[str, float], float]:
    """The place on the axis of each method's sizes: several methods at one size stand beside each other."""
    sizes = sorted({(math.log10(point.parameters), place, method, point.parameters)
                    for place, (method, points) in enumerate(methods.items()) for point in points})
    step = STEP * (sizes[-1][0] - sizes[0][0])
    starts = [0, *(n for n in range(1, len(sizes)) if sizes[n][0] - sizes[n - 1][0] >= step), len(sizes)]
    places = {}
    for first, last in pairwise(starts):
        heap = sizes[first:last]
        names = sorted({(place, method) for _, place, method, _ in heap})
        for size, place, method, parameters in heap:
            shift = (names.index((place, method)) - (len(names) - 1) / 2) * step
            places[method, parameters] = 10 ** (size + shift) if shift else parameters
    return places


def slowdown_figure(rows: Mapping[str, Mapping[int, pd.DataFrame]], caption: str,
                    intervals: Mapping[str, Mapping[int, tuple[pd.DataFrame, pd.DataFrame]]] | None = None) -> Figure:
    """Figure 5: slow-down in percent over bottleneck and batch size, a row for each design, a panel for each length.

    A frame has batch sizes as its index and bottlenecks as its columns, and NaN where the figure is blank. One scale
    for all panels: from 0, or where some are faster both ways from 0, in two colours. `intervals` has the low and high
    ends of each number, which are printed below it.
    """
    with styled():
        panels = max(len(row) for row in rows.values())
        figure = new_figure(0.4 + 1.7 * len(rows), DOUBLE if panels > 1 else COLUMN)
        grid = figure.subplots(len(rows), panels, squeeze=False, sharex=True, sharey=True)
        colours = _percent_colours([frame for row in rows.values() for frame in row.values()])
        for axes, length in zip(grid[0], next(iter(rows.values())), strict=True):
            axes.set_title(f"length {length}")
        for line, (design, row) in zip(grid, rows.items(), strict=True):
            for axes, (length, frame) in zip(line, row.items(), strict=True):
                _percents(axes, frame, colours, None if intervals is None else intervals[design][length])
            line[0].set_ylabel(f"{design}\nbatch size")
        for axes in grid[-1]:
            axes.set_xlabel("bottleneck")
        figure.colorbar(colours, ax=grid, label="slow-down, %", fraction=0.03, pad=0.01)
        add_caption(figure, caption)
    return figure


def _percent_colours(frames: Sequence[pd.DataFrame]) -> ScalarMappable:
    """Colours from 0 to the highest; from blue through white to red where some are below 0."""
    lowest = min(np.nanmin(frame.to_numpy()) for frame in frames)
    highest = max(1.0, *(np.nanmax(frame.to_numpy()) for frame in frames))
    if lowest >= 0:
        return ScalarMappable(Normalize(0, highest))
    end = max(highest, -lowest)
    return ScalarMappable(Normalize(-end, end), cmap="RdBu_r")


def _percents(axes: Axes, frame: pd.DataFrame, colours: ScalarMappable,
              ends: tuple[pd.DataFrame, pd.DataFrame] | None) -> None:
    """A heat map with its numbers, black where the colour is light."""
    values, (low, high) = frame.to_numpy(), colours.get_clim()
    axes.imshow(values, vmin=low, vmax=high, cmap=colours.cmap, aspect="auto", interpolation="nearest")
    axes.set_xticks(range(values.shape[1]), [str(column) for column in frame.columns])
    axes.set_yticks(range(values.shape[0]), [str(index) for index in frame.index])
    for (i, j), value in np.ndenumerate(values):
        if np.isnan(value):
            continue
        red, green, blue, _ = colours.to_rgba(value)
        light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
        text = f"{value:.1f}"
        if ends is not None:
            numbers = [float(end.to_numpy(dtype=float)[i, j]) for end in ends]
            text += f"\n[{', '.join('–' if np.isnan(number) else f'{number:.1f}' for number in numbers)}]"
        axes.text(j, i, text, ha="center", va="center", color="black" if light else "white",
                  fontsize=7 if ends is None else 5)
