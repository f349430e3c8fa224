"""Documents about two sentences, or about what a sentence says: verdicts, comparisons, words looked up.

A model that is to compare sentences first learns to find a word by another of its meaning, which documents teach
whose answer is a word and not a verdict (`recounted`, `looked_up`, `aligned`), then whether all words of a list are
found (`listed`).
"""

from collections.abc import Callable
from typing import Any

from experiments.tasks.world import glue
from experiments.tasks.world.glue import changed, filled, inferred
from experiments.tasks.world.grammar import NP, Sentence, say
from experiments.tasks.world.reasoning import (
    CONTRADICTION,
    ENTAILMENT,
    EQUAL,
    NEUTRAL,
    OTHER,
    UP,
    compare,
    compare_nouns,
)
from experiments.tasks.world.speaker import IMPOSSIBLE, SYNONYM, Speaker
from experiments.tasks.world.world import Verb, World

CONCLUSIONS = {ENTAILMENT: "that is true .", CONTRADICTION: "that is false .", NEUTRAL: "that is open ."}
ASPECTS = {"agent": "doer", "quality": "look", "verb": "deed", "patient": "target", "place": "place"}
FAMILIES = ("event", "event", "event", "deed", "quality", "lives", "owns")


def pair(speaker: Speaker) -> tuple[str, ...] | None:
    """Two statements, and what the first makes of the second."""
    dice = speaker.dice
    premise = speaker.statement(dice.choice(FAMILIES), negated=dice.chance(0.4), plain=True)
    label = dice.choice((ENTAILMENT, NEUTRAL, CONTRADICTION))
    hypothesis = inferred(speaker, premise, label, negate=True)
    if hypothesis is None:
        return None
    one, other = say(premise), say(hypothesis)
    if dice.chance(0.2):
        one, other = glue.reported(speaker, one), glue.reported(speaker, other)
    return (one, f"{other} {CONCLUSIONS[label]}")


def retold(speaker: Speaker) -> tuple[str, ...] | None:
    """Two events or two questions that are the same, or differ in as many words."""
    same = speaker.dice.chance(0.5)
    row = speaker.dice.choice((glue.mrpc, glue.mrpc, glue.qqp))(speaker, int(same))
    if row is None:
        return None
    one, other, _ = row.values()
    return (one, f"{other} that is {'similar' if same else 'different'} .")


def compared(speaker: Speaker) -> tuple[str, ...]:
    """Two events, and what they have in common."""
    one, other, kept = glue.compared(speaker, speaker.dice.number(0, 5))
    shared = " , ".join(f"same {word}" if slot in kept else f"other {word}" for slot, word in ASPECTS.items())
    return (say(one), f"{say(other)} {shared} .")


def mentioned(speaker: Speaker) -> tuple[str, ...]:
    """An event, and words: does it speak of these, by a word of that meaning or a kind of it?

    What a verdict on two sentences takes, word by word. Without these documents pre-training hardly learns to compare.
    """
    return _asked(speaker, lambda word: "yes" if word else "no")


def looked_up(speaker: Speaker) -> tuple[str, ...]:
    """An event, and words: which of its own words is of that meaning or a kind of it, if there is one?"""
    return _asked(speaker, lambda word: word or "no")


def _asked(speaker: Speaker, answer: Callable[[str | None], str]) -> tuple[str, ...]:
    dice, event = speaker.dice, speaker.event(place=0.9)
    answers = []
    for slot in dice.shuffled([*filled(event), *filled(event)])[:7]:
        value = _reworded(speaker, event, slot, foreign=not dice.chance(0.5))
        if value is not None:
            answers.append(f"{word_of(value)} ? {answer(meant(event, slot, value, speaker.world))} .")
    return (say(event), " ".join(answers))


def listed(speaker: Speaker) -> tuple[str, ...]:
    """An event, and lists of up to four words: does it speak of them all? At most one word of a list is foreign."""
    dice, event = speaker.dice, speaker.event(place=0.9)
    answers = []
    for _ in range(dice.number(2, 4)):
        slots = dice.shuffled(filled(event))[:dice.number(1, 4)]
        foreign = None if dice.chance(0.5) else dice.choice(slots)
        asked = {slot: _reworded(speaker, event, slot, slot == foreign) or event.slots[slot] for slot in slots}
        right = all(meant(event, slot, value, speaker.world) for slot, value in asked.items())
        answers.append(f"{' , '.join(map(word_of, asked.values()))} ? {'yes' if right else 'no'} .")
    return (say(event), " ".join(answers))


def _reworded(speaker: Speaker, event: Sentence, slot: str, foreign: bool) -> Any:
    """What a slot holds in the same, another or a more general word; or something else; None where that is nothing."""
    how = speaker.dice.choice((OTHER,) if foreign else (EQUAL, SYNONYM, UP))
    value = speaker.change(slot, event.slots[slot], how if how in speaker.ways(slot, event.slots[slot]) else EQUAL)
    return None if value is IMPOSSIBLE else value


def meant(event: Sentence, slot: str, value: Any, world: World) -> str | None:
    """The word of an event that means a slot's value, or for a noun is a kind of it."""
    if not isinstance(value, NP):
        said = event.slots[slot]
        return word_of(said) if compare(slot, said, value, world) == EQUAL else None
    cast = [event.slots[slot], event.slots["agent"], event.slots["patient"]]
    return next((phrase.noun for phrase in cast if compare_nouns(phrase.noun, value.noun, world) in (EQUAL, UP)), None)


def word_of(value: Any) -> str:
    """The noun of a phrase, a verb in the past, a word as it is."""
    return value.noun if isinstance(value, NP) else value.past if isinstance(value, Verb) else str(value)


def aligned(speaker: Speaker) -> tuple[str, ...]:
    """Two events, and for three of five things what each says of it, and whether that is the same."""
    one, other, kept = glue.compared(speaker, speaker.dice.number(0, 5))
    said = [f"{word} {_aspect(one, slot)} , {_aspect(other, slot)} , {'same' if slot in kept else 'other'} ."
            for slot, word in speaker.dice.sample([*ASPECTS.items()], 3)]
    return (say(one), " ".join([say(other), *said]))


def _aspect(event: Sentence, slot: str) -> str:
    return event.slots["agent"].quality if slot == "quality" else word_of(event.slots[slot])


def recounted(speaker: Speaker) -> tuple[str, ...]:
    """Two to four events, and all of them again in another order, in other and in more general words."""
    dice = speaker.dice
    events = [speaker.event(place=0.8, plain=True) for _ in range(dice.number(2, 4))]
    again = []
    for event in events:
        for slot in (slot for slot in filled(event) if dice.chance(0.5)):
            event = changed(speaker, event, [slot], (UP,) if slot in ("agent", "patient") else (SYNONYM,)) or event
        again.append(say(event.said(speaker.form("event"))))
    return (" ".join(map(say, events)), " ".join(["in other words ,", *dice.shuffled(again)]))


def synonyms(speaker: Speaker) -> tuple[str, ...]:
    """One event in two wordings."""
    first = speaker.event(place=1.0, plain=True)
    other = changed(speaker, first, ["verb", "place"], (SYNONYM,)) or first
    return (f"{say(first)} in other words , {say(other.said(speaker.form('event')))}",)


def replied(speaker: Speaker) -> tuple[str, ...] | None:
    """A question for someone, something or somewhere, and a sentence that answers it or does not."""
    dice = speaker.dice
    right = not dice.number(0, 1)
    asked = glue.question(speaker, dice.choice(glue.ASKED), wh=1.0)
    if asked.asked == "place" and asked.slots["place"] is None:
        return None
    reply = asked if right else _no_answer(speaker, asked)
    if reply is None:
        return None
    answer = say(reply.said(speaker.form(reply.family)))
    if right and dice.chance(0.3):
        return (say(asked), answer)
    return (say(asked), f"{answer} that is {'relevant' if right else 'irrelevant'} .")


def _no_answer(speaker: Speaker, asked: Sentence) -> Sentence | None:
    """Another matter, roles the other way round, or someone or something else."""
    dice = speaker.dice
    if dice.chance(0.5):
        if asked.family != "event":
            another = glue.asks_for_another(speaker, asked)
            return another if another and another.family != asked.family else None
        if asked.asked == "place" and dice.chance(0.5):
            return asked.said(asked.form, place=None)
        both = compare("agent", asked.slots["agent"], asked.slots["patient"], speaker.world)
        return glue.swapped(asked) if both == OTHER else None  # a bonnet is a hat: one of them may be the other
    slots = [slot for slot in filled(asked) if slot != asked.asked]
    return changed(speaker, asked, dice.sample(slots, 1), (OTHER,))
