"""Held-out clauses: those of evaluation, which occur neither in the pre-training corpus nor in training sets.

One clause in eight is held out, by a hash of its text without its speaker; clauses of fewer than four words ("yes") are
not. Training text has no held-out clause, evaluation text has no other.
"""

import functools
import re
import zlib

ONE_IN = 8
FEWEST_WORDS = 4
REPORT = re.compile(r"\b(?:(?:they say|the letter said|\w+ thinks) that|\w+ :|(?:in other words|yes|no) ,) ")
ENDS = re.compile(r" [.?](?: |$)| , (?:and|but|so) ")


def clauses(text: str) -> list[str]:
    """The simple sentences of a text, without full stops and without their speakers."""
    return [clause for clause in ENDS.split(REPORT.sub("", text)) if clause]


def held_out(clause: str) -> bool:
    """True for a clause that is kept for evaluation."""
    return clause.count(" ") >= FEWEST_WORDS - 1 and zlib.crc32(clause.encode()) % ONE_IN == 0


@functools.lru_cache(maxsize=100_000)  # a task of few words draws the same sentences again and again
def fits(text: str, evaluation: bool) -> bool:
    """True where every clause belongs to evaluation, or (evaluation=False) to training."""
    return all(held_out(clause) == evaluation for clause in clauses(text))
