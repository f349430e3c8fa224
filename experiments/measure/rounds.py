"""Time variants in turns, and compare them within a round.

Other processes slow down whatever runs beside them. So every variant runs once a round, in an order drawn anew for
each round: a disturbance hits all variants alike, and a ratio is the median over rounds of two times of one round.
"""

import random
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

from lora.errors import check_choice

Step = Callable[[], Any]
Clock = Callable[[Step], float]
Name = TypeVar("Name", bound=Hashable)


def wall_seconds(step: Step) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def processor_seconds(step: Step) -> float:
    """Seconds of processor time that a call takes, in all threads of this process."""
    started = time.process_time()
    step()
    return time.process_time() - started


def reported(step: Step) -> float:
    """The number that a step returns: the clock of steps that measure themselves."""
    return float(step())


def rounds(steps: Mapping[Name, Step], n: int, clock: Clock = wall_seconds, warmup: int = 1, seed: int = 0,
           goes_on: Callable[[int], bool] = lambda number: True) -> dict[Name, list[float]]:
    """By variant, what `clock` reads of its step in each of `n` rounds, after `warmup` rounds that do not count.

    `seed` is that of the order of variants. `goes_on` is asked before every round but the first, with the number of
    rounds so far (the warm-up among them), and ends the measurement by False.
    """
    readings: dict[Name, list[float]] = {name: [] for name in steps}
    order, draw = list(steps), random.Random(seed)
    for number in range(warmup + n):
        if number and not goes_on(number):
            break
        draw.shuffle(order)
        for name in order:
            reading = clock(steps[name])
            if number >= warmup:
                readings[name].append(reading)
    return readings


def ratio(readings: Mapping[str, Sequence[float]], name: str, other: str) -> float:
    """Median over rounds of one variant's reading over another's in the same round."""
    for variant in (name, other):
        check_choice("variant", variant, readings)
    return statistics.median(one / two for one, two in zip(readings[name], readings[other], strict=True))
