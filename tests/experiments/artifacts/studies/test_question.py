"""The layers that the paper's figures show, found in models of any depth."""

import pytest

from experiments.artifacts.studies.question import check_drawn, drawn_layers, key_of


@pytest.mark.parametrize(("depth", "middle"), [(96, 47), (12, 5), (6, 2), (4, 1), (1, 0)])
def test_the_middle_layer_is_the_papers_48th_of_96(depth: int, middle: int):
    assert drawn_layers("middle", [None, *range(depth)]) == [middle]


def test_quarters_go_from_the_first_layer_to_the_last():
    assert drawn_layers("quarters", range(12)) == [0, 4, 7, 11]
    assert drawn_layers("all", [3, 1, 1, None]) == [1, 3]
    assert drawn_layers([2, 0], range(3)) == [2, 0]


def test_layers_and_roles_that_cannot_be_are_named():
    with pytest.raises(ValueError, match="layer 5 is not one of 0, 1, 2"):
        drawn_layers([5], range(3))
    with pytest.raises(ValueError, match="no update is in a numbered layer"):
        drawn_layers("all", [None])
    with pytest.raises(ValueError, match=r"role .w. is not one of"):
        check_drawn(["w"], "all")
    with pytest.raises(ValueError, match="are neither numbers nor one of"):
        check_drawn(["q"], [True])
    with pytest.raises(ValueError, match=r"run \[8, -1\] is not \[rank, seed\]"):
        key_of([8, -1])
