"""Figures of spectra draw the arrays they are given: layers along an axis or by colour, directions from one."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from analysis.figures.spectrum import Measure, energy_figure, layers_figure, spectrum_figure
from analysis.figures.style import COLOURS
from tests.analysis.figures.made import image, panels


def test_singular_values_are_over_the_first_by_role_and_layer():
    spectra = {"q": {0: torch.tensor([4.0, 2.0, 1.0]), 5: torch.tensor([3.0, 0.3])}, "v": {0: torch.tensor([7.0])}}
    figure = spectrum_figure(spectra, "Caption")
    q, v = panels(figure)
    first, last = q.get_lines()
    assert (list(first.get_xdata()), list(first.get_ydata())) == ([1, 2, 3], [1.0, 0.5, 0.25])
    assert list(last.get_ydata()) == pytest.approx([1.0, 0.1])
    assert to_hex(first.get_color()) != to_hex(last.get_color())
    assert (q.get_title(), q.get_yscale(), list(q.get_xticks())) == ("q", "log", [1, 2, 3])
    assert list(v.get_lines()[0].get_ydata()) == [1.0]
    [bar] = [axes for axes in figure.axes if axes not in (q, v)]
    assert bar.get_ylabel() == "layer"


def test_lines_over_the_layers_leave_out_what_is_outside_them():
    figure = layers_figure([Measure("norm", {"q": {0: 1.0, 3: 2.0, None: 9.0}, "v": {0: 4.0}}, most=8.0)], "Caption")
    [axes] = panels(figure)
    q, v, most = axes.get_lines()
    assert (list(q.get_xdata()), list(q.get_ydata())) == ([0, 3], [1.0, 2.0])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("layer", "norm")
    assert [to_hex(line.get_color()).upper() for line in (q, v)] == list(COLOURS[:2])
    assert list(most.get_ydata()) == [8.0, 8.0]


def test_energy_of_a_lower_rank_is_all_there_beyond_it():
    figure = energy_figure({"q": {0: torch.tensor([0.5, 0.75, 1.0]), 1: torch.tensor([0.8, 1.0])}}, "Caption")
    [axes] = panels(figure)
    assert np.allclose(image(axes), [[0.5, 0.75, 1.0], [0.8, 1.0, 1.0]])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "1"]
