"""tests.analysis.figures.made"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def panels(figure: Figure) -> list[Axes]:
    """The axes without colour bars."""
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def image(axes: Axes) -> np.ndarray:
    return np.asarray(axes.get_images()[0].get_array())
