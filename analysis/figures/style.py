"""The style of every picture of the project, and its caption.

Pictures are as wide as a column of a paper or as two, with text that can be read at that width; colours are told apart
by the colour-blind (Okabe & Ito 2008), and similarities are viridis on one scale in a figure, from 0.
"""

import textwrap
from contextlib import AbstractContextManager
from typing import Any

from cycler import cycler
from matplotlib import rc_context
from matplotlib.figure import Figure

COLUMN, DOUBLE = 3.3, 6.9  # inches
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9",
           "#000000", "#882255", "#999933", "#332288")  # from the seventh on Tol 2021, for figures of many methods
MARKERS = ("o", "s", "^", "D", "v", "P")
GREY = "#666666"
LETTERS = 20  # of a caption in an inch
LINE = 0.13   # inches, of a caption
STYLE: dict[Any, Any] = {
    "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "legend.fontsize": 7, "legend.frameon": False, "axes.linewidth": 0.6, "lines.linewidth": 1.2,
    "lines.markersize": 3.5, "grid.alpha": 0.3, "grid.linewidth": 0.5, "axes.prop_cycle": cycler(color=COLOURS),
    "image.cmap": "viridis", "savefig.dpi": 200, "pdf.fonttype": 42}  # 42: text stays text


def styled() -> AbstractContextManager[None]:
    """The style while a figure is made and drawn on: `with styled(): ...`."""
    return rc_context(STYLE)


def new_figure(height: float, width: float = DOUBLE) -> Figure:
    """An empty figure of so many inches."""
    return Figure(figsize=(width, height), layout="constrained")


def add_caption(figure: Figure, text: str) -> None:
    """A caption below the picture and as wide as it is."""
    held = text.replace("seed ", "seed\u00a0").replace("(i, j)", "(i,\u00a0j)")  # stays on one line
    for sign in "=/":
        held = held.replace(f" {sign} ", f"\u00a0{sign}\u00a0")
    lines = textwrap.wrap(held, int(LETTERS * figure.get_figwidth()))
    figure.set_figheight(figure.get_figheight() + LINE * len(lines))
    figure.supxlabel("\n".join(lines), x=0.005, ha="left", fontsize=7, color=GREY)


def caption_of(figure: Figure) -> str:
    """The caption as one line, '' where there is none."""
    return " ".join(figure.get_supxlabel().replace("\u00a0", " ").split())


def remove_caption(figure: Figure) -> None:
    """The picture alone, as high as it was before its caption."""
    if text := figure.get_supxlabel():
        figure.set_figheight(figure.get_figheight() - LINE * len(text.split("\n")))
        figure.supxlabel("")
