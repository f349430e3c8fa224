"""Figures draw the arrays they are given, on the scale they say, with labelled axes; files are the same each time."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from analysis.figures.amplification import Projections, amplification_figure
from analysis.figures.lines import spread
from analysis.figures.similarity import Panel, highest, shared_figure, similarity_figure
from analysis.figures.spectrum import Measure, layers_figure
from analysis.figures.style import DOUBLE, add_caption, caption_of, new_figure, remove_caption
from analysis.linalg.statistics import Interval, shared_directions
from experiments.tables.publish_study import save_figure
from tests.analysis.figures.made import image, panels


def test_heat_maps_are_phi_from_0_to_1_with_a_zoomed_corner():
    phi = torch.rand(10, 64).double()
    figure = similarity_figure({"layer 3": [Panel("q", phi), Panel("q, first 8", phi, corner=True)],
                                "by chance": [Panel("q", phi / 2), Panel("q, first 8", None)]}, "What it is", "i", "j")
    full, corner, chance, absent = panels(figure)
    assert np.array_equal(image(full), phi)
    near = np.asarray(corner.get_images()[0].get_array().filled(np.nan))
    assert np.array_equal(near, np.where(np.tri(8, dtype=bool), phi[:8, :8], np.nan), equal_nan=True)
    assert np.array_equal(image(chance), phi / 2)
    assert not absent.get_images()
    for axes in (full, corner, chance):
        assert axes.get_images()[0].get_clim() == (0, 1)
        assert axes.get_images()[0].cmap.name == "viridis"
    assert full.get_images()[0].get_extent() == [0.5, 64.5, 10.5, 0.5]  # i downwards; i and j are the ticks' numbers
    assert (full.get_title(), full.get_ylabel(), chance.get_xlabel()) == ("q", "layer 3\ni", "j")
    [bar] = [axes for axes in figure.axes if axes not in panels(figure)]
    assert "φ" in bar.get_ylabel()
    assert figure.get_figwidth() == DOUBLE
    assert figure.get_supxlabel() == "What it is"


def test_low_similarities_have_a_scale_that_shows_them_and_chance_the_same():
    found, chance = torch.full((64, 4), 0.21).double(), torch.full((64, 4), 0.02).double()
    found[0, 0] = 0.31
    rows = {"layer 3": [Panel("q", found), Panel("v", None)], "by chance": [Panel("q", chance), Panel("v", chance)]}
    assert highest(rows) == 0.35
    figure = similarity_figure(rows, "What it is", "i", "j")
    images = [axes.get_images()[0] for axes in panels(figure) if axes.get_images()]
    assert [drawn.get_clim() for drawn in images] == [(0, 0.35)] * 3
    [bar] = [axes for axes in figure.axes if axes not in panels(figure)]
    assert bar.get_ylim() == (0, 0.35)
    assert bar.get_ylabel() == "similarity φ(i, j), 0 to 0.35"


@pytest.mark.parametrize(("most", "top"), [(0.15, 0.15), (0.151, 0.2), (1.0, 1.0), (1 + 1e-9, 1.0), (0.0, 0.05)])
def test_a_scale_ends_at_a_multiple_of_a_twentieth(most: float, top: float):
    assert highest({"q": [Panel("q", torch.tensor([[0.0, most]], dtype=torch.float64))]}) == top


@pytest.mark.parametrize("columns", [1, 2, 7])
def test_square_maps_are_drawn_square_and_close(columns: int):
    phi = torch.rand(64, 64)
    figure = similarity_figure({f"layer {k}": [Panel("q", phi)] * columns for k in range(5)}, "What", "i", "j")
    figure.draw_without_rendering()
    boxes = [axes.get_window_extent() for axes in panels(figure)]
    assert all(box.width == pytest.approx(box.height, rel=0.01) for box in boxes)
    assert figure.get_figwidth() <= DOUBLE
    gaps = [right.x0 - left.x1 for left, right in pairwise(boxes[:columns])]
    assert all(gap < 0.8 * boxes[0].width for gap in gaps)


def test_shared_directions_stand_beside_chance():
    shared = shared_directions(torch.rand(3, 4, 4).double(), 16, samples=20)
    means = [Interval(0.9 / i, 0.8 / i, 1 / i, 3) for i in range(1, 5)]
    figure = shared_figure({"q": (means, shared, 16), "v": (means, shared, 16)}, "Caption")
    top, _, bottom, _ = panels(figure)
    lines = {line.get_label(): line.get_ydata() for line in top.get_lines()}
    assert list(lines["mean of 3 sites"]) == [0.9, 0.45, pytest.approx(0.3), 0.225]
    assert list(lines["chance: mean"]) == [1 / 16, 2 / 16, 3 / 16, 4 / 16]
    assert np.array_equal(lines["chance: 95% of draws below"], shared.phi_chance)
    assert np.array_equal(bottom.get_lines()[0].get_ydata(), shared.gain)
    assert bottom.get_xlabel() == "direction i"
    assert top.get_ylabel() == "φ(i, i)"


def test_amplification_has_table_7_above_and_factors_beside_chance_below():
    norms = {"q": {0: Projections(10, 2, 0.5, 5, 0.2), 1: Projections(11, 3, 0.6, 6, 0.3)}}
    factors, chance = ({"q": {layer: torch.tensor(line) for layer, line in lines.items()}} for lines in (
        {0: [4000.0, 8.0, 4.0], 1: [torch.inf, 6.0, 5.0]}, {0: [90.0, 20.0, 12.0], 1: [70.0, 10.0, 8.0]}))
    figure = amplification_figure(norms, factors, chance, "Caption")
    top, bottom = panels(figure)
    lines = {line.get_label(): list(line.get_ydata()) for line in top.get_lines()}
    assert lines == {"‖W‖": [10, 11], "‖ΔW‖": [2, 3], "W in ΔW's directions": [0.5, 0.6],
                     "W in its own directions": [5, 6], "W in random directions": [0.2, 0.3]}
    *of_layers, dashed = bottom.get_lines()
    assert [list(line.get_ydata()) for line in of_layers] == [[4000, 8, 4], [np.inf, 6, 5]]
    assert (dashed.get_linestyle(), list(dashed.get_ydata())) == ("--", [80, 15, 10])  # the mean over layers
    low, high = bottom.get_ylim()
    assert 2 < low < 4
    assert 20 < high < 40  # u^T W v near 0 at k = 1 leaves room for the rest
    assert dashed.get_label() in [text.get_text() for text in figure.legends[0].get_texts()]
    assert (top.get_ylabel(), bottom.get_ylabel()) == ("Frobenius norm", "amplification factor")
    assert bottom.get_xlabel() == "first k directions of ΔW"


@pytest.mark.parametrize("ends", [(0.32, 31.0), (2.1, 3.2), (3.0, 5e5), (0.004, 0.9)])
def test_factors_are_labelled_in_plain_numbers_that_do_not_overlap(ends: tuple[float, float]):
    norms = {f"q, r = {rank}": {0: Projections(10, 2, 0.5, 5, 0.2)} for rank in (4, 8, 64)}
    lines = {name: {0: torch.logspace(*np.log10(ends[::-1]), 64)} for name in norms}
    figure = amplification_figure(norms, lines, lines, "Caption")
    figure.draw_without_rendering()
    axis = panels(figure)[3].yaxis
    labels = [text for text in axis.get_ticklabels(which="both") if text.get_text()
              and axis.axes.get_ylim()[0] <= text.get_position()[1] <= axis.axes.get_ylim()[1]]
    assert len(labels) >= 2
    assert not any("e" in text.get_text() or "$" in text.get_text() for text in labels if float(text.get_text()) < 1e5)
    boxes = sorted((text.get_window_extent() for text in labels), key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 for low, high in pairwise(boxes))


@pytest.mark.parametrize("rank", [1, 4, 64])
def test_directions_are_counted_from_one_to_the_last(rank: int):
    norms = {"q": {0: Projections(10, 2, 0.5, 5, 0.2)}}
    line = {"q": {0: torch.linspace(9, 1, rank)}}
    shared = shared_directions(torch.rand(3, rank, rank).double(), 128, samples=5)
    drawn = shared_figure({"q": ([Interval(0.9, None, None, 1)] * rank, shared, 128)}, "Caption")
    for figure in (drawn, amplification_figure(norms, line, line, "Caption")):
        marks = panels(figure)[-1].get_xticks()
        assert (marks[0], marks[-1]) == (1, rank)
        assert all(1 <= mark <= rank for mark in marks)


def test_a_caption_breaks_no_formula():
    add_caption(figure := new_figure(1.0), "Random subspaces, on average max(i, j) / 384, r = 4, of seed 0. " * 40)
    lines = figure.get_supxlabel().split("\n")
    assert len(lines) > 5
    whole = "max(i,\u00a0j)\u00a0/\u00a0384"
    assert sum(line.count(whole) for line in lines) == 40
    assert not any(line.startswith("/") or line.endswith("/") for line in lines)


def test_a_picture_without_its_caption_is_as_high_as_before_it():
    figure = layers_figure([Measure("norm", {"q": {0: 1.0}})], "Similarity φ(i, j) of seed 0. " * 9)
    assert caption_of(figure) == ("Similarity φ(i, j) of seed 0. " * 9).strip()
    remove_caption(figure)
    assert caption_of(figure) == ""
    assert figure.get_figheight() == pytest.approx(2.2)


def test_layers_are_spread_over_the_depth():
    assert spread(list(range(12))) == [0, 4, 7, 11]
    assert spread([2, 2, 5]) == [2, 5]
    assert spread([None]) == [None]


def test_a_picture_is_the_same_bytes_each_time(tmp_path: Path):
    def saved(name: str) -> list[bytes]:
        figure = layers_figure([Measure("norm", {"q": {0: 1.0}})], "Caption")
        return [path.read_bytes() for path in save_figure(figure, tmp_path, name)]

    assert saved("one") == saved("two")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.pdf", "one.png", "two.pdf", "two.png"]
