"""CoLA in miniature: sentences of the grammar, and sentences that break it by one word."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from experiments.tasks.world.families import COUNTS
from experiments.tasks.world.grammar import Reader, Sentence, plural, say
from experiments.tasks.world.speaker import Speaker
from experiments.tasks.world.world import World

Row = dict[str, Any]


def cola(speaker: Speaker, label: int) -> Row | None:
    """A sentence of the grammar (1), or one that breaks it (0)."""
    dice = speaker.dice
    family = dice.choice(("habit", "habit", "quality", "event", "event", "deed"))
    sentence = speaker.statement(family, negated=dice.chance(0.2))
    slot = "thing" if family == "quality" else "agent"
    subject = sentence.slots[slot]
    if subject.det and dice.chance(0.6):
        subject = replace(subject, near=speaker.thing())
    sentence = sentence.in_form(sentence.form, **{slot: subject})
    text = say(sentence) if label else broken_sentence(speaker, sentence, say(sentence))
    return {"sentence": text, "label": label} if text else None


def broken_sentence(speaker: Speaker, sentence: Sentence, text: str) -> str | None:
    """The text with an error of agreement, number, verb form or word order; None where it stays grammatical."""
    dice, words = speaker.dice, text.split()
    breaks: list[Callable[[list[str]], list[str] | None]] = [_wrong_agreement(sentence)] * 2
    breaks += [_wrong_number(speaker), _wrong_form(sentence), _wrong_order(speaker)]
    changed = dice.choice(breaks)(words)
    broken = " ".join(changed or words)
    reader = Reader(speaker.world)
    return None if reader.read(broken) or reader.read(f"{broken[:-1]}?") else broken


def _wrong_agreement(sentence: Sentence) -> Callable[[list[str]], list[str] | None]:
    pairs = {"is": "are", "was": "were", "does": "do", "seems": "seem"}
    if deed := sentence.slots.get("deed"):
        pairs[deed.third] = deed.base
    both = pairs | {many: one for one, many in pairs.items()}

    def broken(words: list[str]) -> list[str] | None:
        at = [i for i, word in enumerate(words) if word in both and not (i and words[i - 1] in ("not", "did"))]
        return [*words[:at[-1]], both[words[at[-1]]], *words[at[-1] + 1:]] if at else None
    return broken


def _wrong_number(speaker: Speaker) -> Callable[[list[str]], list[str] | None]:
    def broken(words: list[str]) -> list[str] | None:
        both = _numbers(speaker.world)
        at = [i for i, word in enumerate(words) if word in both and _counted(words[:i])]
        if not at:
            return None
        i = speaker.dice.choice(at)
        return [*words[:i], both[words[i]], *words[i + 1:]]
    return broken


@functools.cache
def _numbers(world: World) -> dict[str, str]:
    """The plural of each noun of a world, and the singular of each plural."""
    plurals = {plural(noun): noun for noun in (*world.class_of, *world.genus_of)}
    return plurals | {one: many for many, one in plurals.items()}


def _counted(before: list[str]) -> bool:
    """True where the last determiner before a noun fixes its number."""
    return bool({"a", "an", *COUNTS} & set(before[-2:]))


def _wrong_form(sentence: Sentence) -> Callable[[list[str]], list[str] | None]:
    verb = sentence.slots.get("verb") or sentence.slots.get("deed")

    def broken(words: list[str]) -> list[str] | None:
        present = sentence.form in ("active", "past") and sentence.slots["agent"].plural
        if verb is None or present:  # "dogs chase" is English
            return None
        swaps = {verb.past: verb.base, verb.base: verb.past}
        return [swaps.get(word, word) for word in words] if sentence.family != "habit" else None
    return broken


def _wrong_order(speaker: Speaker) -> Callable[[list[str]], list[str] | None]:
    def broken(words: list[str]) -> list[str] | None:
        i = speaker.dice.number(0, len(words) - 3)
        return [*words[:i], words[i + 1], words[i], *words[i + 2:]]
    return broken
