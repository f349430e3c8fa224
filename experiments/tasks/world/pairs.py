"""Documents about two sentences, or about the words of one: verdicts, comparisons, look-ups.

To compare sentences a model first learns to find a word by a word of the same meaning, from documents whose answer is a
word and not a verdict (`recounted`, `looked_up`, `aligned`), then to decide whether all words of a list occur
(`listed`).
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
    """Two statements, and whether the second is true, false or open given the first."""
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
    """Two events or two questions with the same meaning, or not, with as many words changed."""
    same = speaker.dice.chance(0.5)
    row = speaker.dice.choice((glue.mrpc, glue.mrpc, glue.qqp))(speaker, int(same))
    if row is None:
        return None
    one, other, _ = row.values()
    return (one, f"{other} that is {'similar' if same else 'different'} .")


def compared(speaker: Speaker) -> tuple[str, ...]:
    """Two events, and the slots that they share."""
    one, other, kept = glue.compared(speaker, speaker.dice.number(0, 5))
    shared = " , ".join(f"same {word}" if slot in kept else f"other {word}" for slot, word in ASPECTS.items())
    return (say(one), f"{say(other)} {shared} .")


def mentioned(speaker: Speaker) -> tuple[str, ...]:
    """An event, and for each of some words whether it has a word of that meaning, or a kind of it.

    A verdict on two sentences needs this word by word; without these documents pre-training hardly learns to compare.
    """
    return _looked_up(speaker, lambda word: "yes" if word else "no")


def looked_up(speaker: Speaker) -> tuple[str, ...]:
    """An event, and for each of some words the event's word of that meaning, or a kind of it, or no."""
    return _looked_up(speaker, lambda word: word or "no")


def _looked_up(speaker: Speaker, answer: Callable[[str | None], str]) -> tuple[str, ...]:
    dice, event = speaker.dice, speaker.event(place=0.9)
    answers = []
    for slot in dice.shuffled([*filled(event), *filled(event)])[:7]:
        value = _reworded(speaker, event, slot, foreign=not dice.chance(0.5))
        if value is not None:
            answers.append(f"{word_of(value)} ? {answer(meant(event, slot, value, speaker.world))} .")
    return (say(event), " ".join(answers))


def listed(speaker: Speaker) -> tuple[str, ...]:
    """An event, and whether it covers all words of lists of up to four; at most one word of a list is foreign."""
    dice, event = speaker.dice, speaker.event(place=0.9)
    answers = []
    for _ in range(dice.number(2, 4)):
        slots = dice.shuffled(filled(event))[:dice.number(1, 4)]
        foreign = None if dice.chance(0.5) else dice.choice(slots)
        values = {slot: _reworded(speaker, event, slot, slot == foreign) or event.slots[slot] for slot in slots}
        right = all(meant(event, slot, value, speaker.world) for slot, value in values.items())
        answers.append(f"{' , '.join(map(word_of, values.values()))} ? {'yes' if right else 'no'} .")
    return (say(event), " ".join(answers))


def _reworded(speaker: Speaker, event: Sentence, slot: str, foreign: bool) -> Any:
    """A slot's value in the same, another or a more general word, or (foreign) another value; None if impossible."""
    how = speaker.dice.choice((OTHER,) if foreign else (EQUAL, SYNONYM, UP))
    value = speaker.change(slot, event.slots[slot], how if how in speaker.ways(slot, event.slots[slot]) else EQUAL)
    return None if value is IMPOSSIBLE else value


def meant(event: Sentence, slot: str, value: Any, world: World) -> str | None:
    """The word of an event that means a slot's value, or for a noun is a kind of it."""
    if not isinstance(value, NP):
        original = event.slots[slot]
        return word_of(original) if compare(slot, original, value, world) == EQUAL else None
    cast = [event.slots[slot], event.slots["agent"], event.slots["patient"]]
    return next((phrase.noun for phrase in cast if compare_nouns(phrase.noun, value.noun, world) in (EQUAL, UP)), None)


def word_of(value: Any) -> str:
    """The noun of a phrase, a verb in the past, a word as it is."""
    return value.noun if isinstance(value, NP) else value.past if isinstance(value, Verb) else str(value)


def aligned(speaker: Speaker) -> tuple[str, ...]:
    """Two events, and for three of five slots both values and whether they agree."""
    one, other, kept = glue.compared(speaker, speaker.dice.number(0, 5))
    comparisons = [f"{word} {_aspect(one, slot)} , {_aspect(other, slot)} , {'same' if slot in kept else 'other'} ."
            for slot, word in speaker.dice.sample([*ASPECTS.items()], 3)]
    return (say(one), " ".join([say(other), *comparisons]))


def _aspect(event: Sentence, slot: str) -> str:
    return event.slots["agent"].quality if slot == "quality" else word_of(event.slots[slot])


def recounted(speaker: Speaker) -> tuple[str, ...]:
    """Two to four events, and paraphrases of all of them in another order."""
    dice = speaker.dice
    events = [speaker.event(place=0.8, plain=True) for _ in range(dice.number(2, 4))]
    again = []
    for event in events:
        for slot in (slot for slot in filled(event) if dice.chance(0.5)):
            event = changed(speaker, event, [slot], (UP,) if slot in ("agent", "patient") else (SYNONYM,)) or event
        again.append(say(event.in_form(speaker.form("event"))))
    return (" ".join(map(say, events)), " ".join(["in other words ,", *dice.shuffled(again)]))


def synonyms(speaker: Speaker) -> tuple[str, ...]:
    """One event in two wordings."""
    first = speaker.event(place=1.0, plain=True)
    other = changed(speaker, first, ["verb", "place"], (SYNONYM,)) or first
    return (f"{say(first)} in other words , {say(other.in_form(speaker.form('event')))}",)


def replied(speaker: Speaker) -> tuple[str, ...] | None:
    """A question for a slot, and a sentence that answers it or does not."""
    dice = speaker.dice
    right = not dice.number(0, 1)
    question = glue.question(speaker, dice.choice(glue.ASKED), wh=1.0)
    if question.asked_slot == "place" and question.slots["place"] is None:
        return None
    reply = question if right else _no_answer(speaker, question)
    if reply is None:
        return None
    answer = say(reply.in_form(speaker.form(reply.family)))
    if right and dice.chance(0.3):
        return (say(question), answer)
    return (say(question), f"{answer} that is {'relevant' if right else 'irrelevant'} .")


def _no_answer(speaker: Speaker, question: Sentence) -> Sentence | None:
    """A sentence that does not answer: of another slot or family, with roles exchanged, or with another value."""
    dice = speaker.dice
    if dice.chance(0.5):
        if question.family != "event":
            another = glue.asks_for_another(speaker, question)
            return another if another and another.family != question.family else None
        if question.asked_slot == "place" and dice.chance(0.5):
            return question.in_form(question.form, place=None)
        both = compare("agent", question.slots["agent"], question.slots["patient"], speaker.world)
        return glue.swapped(question) if both == OTHER else None  # a bonnet is a hat: one of them may be the other
    slots = [slot for slot in filled(question) if slot != question.asked_slot]
    return changed(speaker, question, dice.sample(slots, 1), (OTHER,))
