"""Variants take turns, the warm-up does not count, and a ratio compares within a round."""

import statistics
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.measure.rounds import processor_seconds, ratio, reported, rounds, wall_seconds

NAMES = st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=5, unique=True)


@given(names=NAMES, n=st.integers(0, 5), warmup=st.integers(0, 3), seed=st.integers(0, 99))
def test_each_round_runs_each_variant_once_and_keeps_what_comes_after_the_warm_up(
    names: list[str], n: int, warmup: int, seed: int
) -> None:
    ticks, called = count(), []

    def step(name: str) -> int:
        called.append(name)
        return next(ticks)

    readings = rounds({name: lambda name=name: step(name) for name in names}, n, reported, warmup, seed)
    turns = [called[start:start + len(names)] for start in range(0, len(called), len(names))]
    assert [sorted(turn) for turn in turns] == [sorted(names)] * (warmup + n)
    assert readings == {name: [number * len(names) + turn.index(name) for number, turn in enumerate(turns)
                               if number >= warmup] for name in names}


def test_the_order_is_drawn_anew_for_every_round_from_the_seed() -> None:
    def turns(seed: int) -> list[tuple[str, ...]]:
        called: list[str] = []
        rounds({name: lambda name=name: called.append(name) or 0.0 for name in "abcdef"}, 10, reported, 0, seed)
        return [tuple(called[start:start + 6]) for start in range(0, 60, 6)]

    assert len(set(turns(0))) > 5
    assert turns(0) == turns(0) != turns(1)


@given(stop=st.integers(1, 6), warmup=st.integers(0, 2))
def test_rounds_end_where_they_do_not_go_on(stop: int, warmup: int) -> None:
    asked: list[int] = []

    def goes_on(number: int) -> bool:
        asked.append(number)
        return number < stop

    readings = rounds({"a": lambda: 1.0}, 5, reported, warmup, goes_on=goes_on)
    ran = min(stop, warmup + 5)
    assert len(readings["a"]) == max(0, ran - warmup)
    assert asked == list(range(1, min(ran + 1, warmup + 5)))


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0.1, 100)), min_size=1, max_size=9))
def test_a_ratio_does_not_see_what_slows_down_a_whole_round(times: list[tuple[float, float, float]]) -> None:
    calm = {"ours": [one for one, _, _ in times], "theirs": [two for _, two, _ in times]}
    slowed = {"ours": [one * slow for one, _, slow in times], "theirs": [two * slow for _, two, slow in times]}
    expected = statistics.median(one / two for one, two, _ in times)
    assert ratio(calm, "ours", "theirs") == expected
    assert ratio(slowed, "ours", "theirs") == pytest.approx(expected)
    assert ratio(calm, "ours", "ours") == 1


def test_a_ratio_is_taken_within_each_round() -> None:
    assert ratio({"ours": [1.0, 20.0, 3.0], "peft": [1.0, 10.0, 1.0]}, "ours", "peft") == 2.0


def test_a_ratio_to_what_was_not_measured_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="variant 'peff' is not one of ours, peft; did you mean 'peft'"):
        ratio({"ours": [1.0], "peft": [1.0]}, "ours", "peff")


def test_a_clock_reads_the_call_alone() -> None:
    def works() -> int:
        return sum(range(300_000))

    assert wall_seconds(works) > 0
    assert processor_seconds(works) > 0
    assert processor_seconds(lambda: None) < processor_seconds(works)
