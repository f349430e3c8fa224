"""Random choices that are the same on every machine and Python: made from random() alone, which Python guarantees."""

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """A stream of choices; equal seeds (any text) give equal streams."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed).random  # a text seeds by its sha512

    def chance(self, share: float) -> bool:
        """True in `share` of the cases."""
        return self._random() < share

    def choice(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[int(self._random() * len(options))]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """All options in random order."""
        keys = [self._random() for _ in options]
        return [option for _, option in sorted(zip(keys, options, strict=True), key=lambda pair: pair[0])]

    def sample(self, options: Sequence[T], count: int) -> list[T]:
        """`count` different options."""
        return self.shuffled(options)[:count]

    def number(self, lowest: int, highest: int) -> int:
        """A whole number in lowest..highest."""
        return lowest + int(self._random() * (highest - lowest + 1))
