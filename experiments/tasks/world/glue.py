"""The eight GLUE tasks in miniature: one row of each, in the columns of the hub's data set.

The rows of a split use the words of one part of the world, so the meaning of words new in evaluation must come from
pre-training. Positive and negative rows are made by the same changes to the same number of words, so words alone reveal
little about the label; `experiments.tasks.world.surface` measures how much.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from experiments.tasks.world.cola import cola
from experiments.tasks.world.families import FAMILIES
from experiments.tasks.world.grammar import NP, Sentence, say, slots_of
from experiments.tasks.world.reasoning import (
    CONTRADICTION,
    DOWN,
    ENTAILMENT,
    EQUAL,
    NEUTRAL,
    OTHER,
    UP,
    VALUES,
    combine,
    compare,
    compare_nouns,
    relation,
)
from experiments.tasks.world.speaker import IMPOSSIBLE, SYNONYM, Speaker

Row = dict[str, Any]
TRIES = 60
ABOUT_PEOPLE = ("lives", "works", "age", "owns")
NOUNS = ("agent", "patient", "thing", "owned")
ASKED = ("event", "event", "colour", "material", *ABOUT_PEOPLE)  # families of questions


def changed(speaker: Speaker, sentence: Sentence, slots: list[str], hows: tuple[str, ...]) -> Sentence | None:
    """The sentence with each of the slots changed in one of the ways; None where a change is impossible."""
    new = {}
    for slot in slots:
        value = sentence.slots[slot]
        ways = [how for how in speaker.ways(slot, value) if how in hows]
        new[slot] = speaker.change(slot, value, speaker.dice.choice(ways)) if ways else IMPOSSIBLE
        if new[slot] is IMPOSSIBLE:
            return None
    return sentence.in_form(sentence.form, **new)


def swapped(sentence: Sentence) -> Sentence:
    """The event with agent and patient exchanged."""
    return sentence.in_form(sentence.form, agent=sentence.slots["patient"], patient=sentence.slots["agent"])


def filled(sentence: Sentence) -> list[str]:
    """The slots that have a value."""
    return [slot for slot in slots_of(sentence.family) if sentence.slots.get(slot) is not None]


def equal(one: Sentence, other: Sentence, speaker: Speaker) -> bool:
    """True where two sentences of a family have the same meaning."""
    slots = slots_of(one.family)
    both = (compare(slot, one.slots.get(slot), other.slots.get(slot), speaker.world) for slot in slots)
    return combine(both) == EQUAL


def inferred(speaker: Speaker, premise: Sentence, wanted: str, negate: bool, asked_slot: str | None = None
             ) -> Sentence | None:
    """A hypothesis in the wanted relation to the premise, with one to three slots changed; None if none is found.

    With `asked_slot` it is a question for that slot, which is not changed.
    """
    dice, slots = speaker.dice, [slot for slot in filled(premise) if slot != asked_slot]
    count = dice.number(1, min(3, len(slots)))
    hows = ((SYNONYM, UP, DOWN, OTHER) if wanted == NEUTRAL else (SYNONYM, DOWN) if premise.negated
            else (SYNONYM, UP, OTHER) if premise.family in VALUES else (SYNONYM, UP))
    for _ in range(TRIES):
        new = changed(speaker, premise, dice.sample(slots, count), hows)
        if new is None:
            count = max(1, count - dice.chance(0.1))  # a few have nothing to change in so many slots
            continue
        if speaker.part is not None:
            new = _kinds_of_others(speaker, premise, new)
        new = new.in_form(speaker.form(premise.family, negated=negate and dice.chance(0.5)) if asked_slot is None
                       else dice.choice(asking(premise.family, asked_slot)))
        if relation(premise, new, speaker.world) == wanted and speaker.may_say(say(new)):
            return new
    return None


def _kinds_of_others(speaker: Speaker, premise: Sentence, new: Sentence) -> Sentence:
    """Replace most nouns that were changed to an unrelated noun by an unrelated class.

    Otherwise the hypothesis alone would reveal the label: only entailed ones would speak of birds and vehicles.
    """
    kinds = {}
    for slot, value in new.slots.items():
        old = premise.slots[slot]
        noun, was = (value.noun, old.noun) if isinstance(value, NP) else (value, old)
        thing = slot in NOUNS and noun not in speaker.world.persons
        if thing and compare_nouns(was, noun, speaker.world) == OTHER and speaker.dice.chance(0.9):
            kind = speaker.wrong_kind(was)
            kinds[slot] = replace(value, noun=kind) if isinstance(value, NP) else kind
    return new.in_form(new.form, **kinds)


def mnli(speaker: Speaker, label: int) -> Row | None:
    """Entailment, neutral or contradiction, with negation.

    Most rows are about something that has one value, such as a town or a job: another value contradicts without a
    "not" and is entailed with one, so negation alone does not reveal the label.
    """
    dice, one_value = speaker.dice, speaker.dice.chance(0.6)
    family = dice.choice(("quality", "lives", "works") if one_value else ("event", "deed", "owns"))
    negated = not one_value and dice.chance(0.4)
    premise = speaker.fitting(lambda: speaker.statement(family, negated=negated, plain=True))
    hypothesis = inferred(speaker, premise, (ENTAILMENT, NEUTRAL, CONTRADICTION)[label], negate=True)
    return None if hypothesis is None else {"premise": say(premise), "hypothesis": say(hypothesis), "label": label}


def mnli_reported(speaker: Speaker, label: int) -> Row | None:
    """The other genre: reported statements."""
    row = mnli(speaker, label)
    return row and row | {key: reported(speaker, row[key]) for key in ("premise", "hypothesis")}


def reported(speaker: Speaker, text: str) -> str:
    """The statement, attributed to a source."""
    sources = ("they say that", "the letter said that", f"{speaker.draw('people')} thinks that")
    return f"{speaker.dice.choice(sources)} {text}"


def rte(speaker: Speaker, label: int) -> Row | None:
    """Entailment (0) or not (1), by the taxonomy."""
    premise = speaker.fitting(lambda: speaker.event(plain=True))
    hypothesis = inferred(speaker, premise, NEUTRAL if label else ENTAILMENT, negate=False)
    return None if hypothesis is None else {"sentence1": say(premise), "sentence2": say(hypothesis), "label": label}


def reworded(speaker: Speaker, one: Sentence, same: bool, question: bool) -> Sentence | None:
    """A paraphrase of a statement or question, or a sentence of another meaning in which as many words differ."""
    dice, forms = speaker.dice, FAMILIES[one.family]
    if question:
        likes = [form for form in alike(one) if form != one.form or one.family == "event"]
    else:
        likes = [form for form in forms if not form.startswith(("ask", "not_"))]
    open_slots = [slot for slot in filled(one) if slot != one.asked_slot]
    if question and speaker.part is not None:  # of what has a synonym: else words recur where the same is asked
        open_slots = [slot for slot in open_slots if slot in ("verb", "place")]
    count = dice.number(1, min(2, len(open_slots)))
    roles = one.family == "event" and one.asked_slot is None and dice.chance(0.3)
    for _ in range(TRIES):
        other = changed(speaker, one, dice.sample(open_slots, count), (SYNONYM,) if same or roles else (SYNONYM, OTHER))
        if other is None:
            if not same and not roles:
                continue
            other = one
        other = swapped(other) if roles and not same else other
        other = other.in_form(dice.choice(likes))
        if equal(one, other, speaker) == same and say(one) != say(other) and speaker.may_say(say(other)):
            return other
    return None


def alike(question: Sentence) -> list[str]:
    """The forms that ask for the same slot."""
    return asking(question.family, question.asked_slot)


def asking(family: str, slot: str | None) -> list[str]:
    """The forms of a family that ask for a slot; with None those that ask whether."""
    forms = [form for form in FAMILIES[family] if form.startswith("ask")]
    return [form for form in forms if Sentence(family, form, {}).asked_slot == slot]


def mrpc(speaker: Speaker, label: int) -> Row | None:
    """Do two sentences describe the same event (1)?"""
    one = speaker.fitting(lambda: speaker.event(place=0.8))
    other = reworded(speaker, one, bool(label), question=False)
    return None if other is None else {"sentence1": say(one), "sentence2": say(other), "label": label}


def question(speaker: Speaker, family: str, wh: float = 0.5) -> Sentence:
    """A question of a family, in a share of `wh` for one of its slots."""
    dice = speaker.dice
    forms = [form for form in FAMILIES[family] if form.startswith("ask")]
    slot_forms = [form for form in forms if Sentence(family, form, {}).asked_slot]
    chosen = slot_forms if slot_forms and dice.chance(wh) else [form for form in forms if form not in slot_forms]
    base = speaker.event(place=0.8, plain=True) if family == "event" else speaker.statement(family, plain=True)
    return base.in_form(dice.choice(chosen))


def qqp(speaker: Speaker, label: int) -> Row | None:
    """Do two questions ask the same (1)?"""
    dice = speaker.dice
    # questions about people are too few with the words of one part
    family = dice.choice(ASKED) if speaker.part is None else "event"
    one = speaker.fitting(lambda: question(speaker, family, wh=0.5 if family == "event" else 1.0))
    if len(alike(one)) == 1:
        return None  # it has no paraphrase
    if not label and one.asked_slot and dice.chance(0.5 if speaker.part is None else 0.2):
        other: Sentence | None = asks_for_another(speaker, one)
    else:
        other = reworded(speaker, one, bool(label), question=True)
    return None if other is None else {"question1": say(one), "question2": say(other), "label": label}


def asks_for_another(speaker: Speaker, one: Sentence) -> Sentence | None:
    """A question about the same, for another slot or of another family."""
    forms = [form for form in FAMILIES[one.family]
             if Sentence(one.family, form, {}).asked_slot not in (None, one.asked_slot)]
    if one.family in ABOUT_PEOPLE and one.asked_slot != "person":
        family = speaker.other(one.family, list(ABOUT_PEOPLE))
        other = question(speaker, family, wh=1.0)
        return other.in_form(other.form, person=one.slots["person"])
    if one.family in ("colour", "material"):
        other = question(speaker, "material" if one.family == "colour" else "colour", wh=1.0)
        return other.in_form(other.form, thing=one.slots["thing"])
    return one.in_form(speaker.dice.choice(forms)) if forms else None


def qnli(speaker: Speaker, label: int) -> Row | None:
    """Does a sentence answer a question (0) or not (1)?

    The question uses synonyms and more general words, as in RTE, so recurring words do not reveal the label.
    """
    family = speaker.dice.choice(("event", "event", "event", "owns"))
    statement = speaker.fitting(lambda: speaker.event(place=0.8, plain=True) if family == "event"
                           else speaker.statement(family, plain=True))
    for_whom = ("agent", "patient", "place") if family == "event" else ("person",)
    asked_slot = speaker.dice.choice([slot for slot in filled(statement) if slot in for_whom])
    question = inferred(speaker, statement, NEUTRAL if label else ENTAILMENT, negate=False, asked_slot=asked_slot)
    return None if question is None else {"question": say(question), "sentence": say(statement), "label": label}


def stsb(speaker: Speaker, label: int) -> Row:
    """In how many of five slots do two events agree: agent, its quality, verb, patient, place?

    Agreeing slots hold a synonym or a more general noun, rarely the same word, so recurring words do not reveal the
    score.
    """
    one, other, kept = compared(speaker, label, _reworded)
    first, second = speaker.dice.shuffled([say(one), say(other)])
    return {"sentence1": first, "sentence2": second, "label": float(len(kept))}


def _reworded(speaker: Speaker, slot: str, value: Any, kept: bool) -> Any:
    """A value that agrees with this one in other words (kept), or a different value."""
    if speaker.dice.chance(0.1):
        return speaker.change(slot, value, EQUAL if kept else OTHER)
    if isinstance(value, NP):
        above = speaker.world.above(value.noun)
        return replace(value, noun=speaker.dice.choice(above) if kept else speaker.wrong_kind(value.noun))
    return speaker.change(slot, value, SYNONYM if kept else OTHER)


def _same_or_other(speaker: Speaker, slot: str, value: Any, kept: bool) -> Any:
    """The same noun, the same or a synonymous quality, verb or place; or another."""
    ways = (EQUAL, SYNONYM) if slot in ("quality", "verb", "place") else (EQUAL,)
    return speaker.change(slot, value, speaker.dice.choice(ways) if kept else OTHER)


def compared(speaker: Speaker, count: int, change: Callable[[Speaker, str, Any, bool], Any] = _same_or_other
             ) -> tuple[Sentence, Sentence, list[str]]:
    """Two events and the `count` of five slots in which they agree; `change` gives the second event's values."""
    dice = speaker.dice

    def first() -> Sentence:
        nouns = dice.sample(speaker.world.items("nouns", speaker.part), 2)
        slots = {"agent": NP(nouns[0], "the", speaker.quality()), "verb": speaker.word("verbs"),
                 "patient": NP(nouns[1], "the"), "place": speaker.word("places")}
        return Sentence("event", speaker.form("event"), slots)

    one = speaker.fitting(first)
    kept, slots = dice.sample(("agent", "quality", "verb", "patient", "place"), count), one.slots

    def other(slot: str, value: Any) -> Any:
        return change(speaker, slot, value, slot in kept)

    agent = slots["agent"]
    new = {slot: other(slot, slots[slot]) for slot in ("verb", "patient", "place")}
    new["agent"] = replace(other("agent", NP(agent.noun, "the")), quality=other("quality", agent.quality))
    return one, one.in_form(speaker.form("event"), **new), kept


def sst2(speaker: Speaker, label: int) -> Row | None:
    """Is a judgement good (1) or bad (0)? The part after "but" decides."""
    dice, good = speaker.dice, bool(label)
    text = say(speaker.fitting(lambda: speaker.opinion(good)))
    if dice.chance(0.4):
        contrast = dice.chance(0.5)
        first = say(speaker.fitting(lambda: speaker.opinion(good != contrast)))
        text = f"{first[:-2]} , {'but' if contrast else 'and'} {text}"
    return {"sentence": text, "label": label}


ROWS: dict[str, tuple[Callable[[Speaker, int], Row | None], int]] = {  # maker of a row, number of labels
    "cola": (cola, 2), "sst2": (sst2, 2), "mrpc": (mrpc, 2), "stsb": (stsb, 6), "qqp": (qqp, 2), "mnli": (mnli, 3),
    "mnli_mismatched": (mnli_reported, 3), "qnli": (qnli, 2), "rte": (rte, 2),
}
