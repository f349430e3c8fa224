"""What a number of a config is refused for."""

import math

import pytest

from lora.errors import check_number, check_whole


@pytest.mark.parametrize("value", [0, -1, 1.0, "1", None, True])
def test_what_is_no_whole_number_of_at_least_one_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=rf"rank {value!r} is not a whole number of at least 1$"):
        check_whole("rank", value, 1)


@pytest.mark.parametrize(("value", "limits", "words"), [
    (0, {"above": 0}, "above 0"), (1, {"least": 0, "below": 1}, "of at least 0 and below 1"),
    (1.5, {"least": 0, "most": 1}, "of at least 0 and at most 1"), (math.nan, {"least": 0}, "of at least 0"),
    (math.inf, {"above": 0}, "above 0"), (True, {"above": 0}, "above 0"), ("1", {"above": 0}, "above 0"),
    (None, {"above": 0}, "above 0")])
def test_a_number_beyond_its_limits_is_refused_with_them(value: object, limits: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=rf"alpha {value!r} is not a number {words}$"):
        check_number("alpha", value, **limits)


def test_limits_of_at_least_and_at_most_are_among_the_numbers() -> None:
    for value in (0, 0.5, 1):
        check_number("dropout", value, least=0, most=1)
    check_whole("rank", 1, 1)
