"""Figure 2: score by the number of trainable parameters, from numbers to a matplotlib Figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.style import COLOURS, DOUBLE, MARKERS, add_caption, new_figure, styled


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
