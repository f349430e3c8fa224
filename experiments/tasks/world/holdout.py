"""Which clauses the pre-training corpus and the training sets must not say, so that evaluation can.

A clause is held out by a hash of its text: one in eight is, whoever says it, but none of fewer than four words ("yes").
What is trained on has none of them, what is evaluated on has no other.
"""

import functools
import re
import zlib

ONE_IN = 8
FEWEST_WORDS = 4
REPORT = re.compile(r"\b(?:(?:they say|the letter said|\w+ thinks) that|\w+ :|(?:in other words|yes|no) ,) ")
ENDS = re.compile(r" [.?](?: |$)| , (?:and|but|so) ")


def clauses(text: str) -> list[str]:
    """The simple sentences of a text, without their full stops or who reports them."""
    return [clause for clause in ENDS.split(REPORT.sub("", text)) if clause]


def held_out(clause: str) -> bool:
    """Whether a clause is kept for evaluation."""
    return clause.count(" ") >= FEWEST_WORDS - 1 and zlib.crc32(clause.encode()) % ONE_IN == 0


@functools.lru_cache(maxsize=100_000)  # a task of few words draws the same sentences again and again
def fits(text: str, evaluation: bool) -> bool:
    """Whether every clause may be evaluated on, or (evaluation=False) trained on."""
    return all(held_out(clause) == evaluation for clause in clauses(text))
