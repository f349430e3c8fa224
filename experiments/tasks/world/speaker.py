"""Draws sentences, and changes slots to a synonym, a more general, a more specific or an unrelated value."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from experiments.tasks.world import words
from experiments.tasks.world.dice import Dice
from experiments.tasks.world.families import COUNTS, FAMILIES, VERDICTS
from experiments.tasks.world.grammar import NP, Sentence, say
from experiments.tasks.world.holdout import fits
from experiments.tasks.world.reasoning import DOWN, EQUAL, OTHER, UP
from experiments.tasks.world.world import World

SYNONYM = "synonym"  # another word of the same meaning
Made = TypeVar("Made")
IMPOSSIBLE = object()  # the value has no such change
PATIENCE = 200
# A word is the most frequent of so many draws: with 2 draws the rarer half of the words has a quarter of the uses
SKEW = {"nouns": 2, "praise": 4, "blame": 4}


class NothingFits(Exception):
    """None of the drawn sentences is allowed in this part: try another row."""


def attempt(make: Callable[..., Made | None], *arguments: Any) -> Made | None:
    """The result of `make`; None where it raises NothingFits."""
    try:
        return make(*arguments)
    except NothingFits:
        return None


@functools.cache
def _forms(family: str, negated: bool, question: bool) -> list[str]:
    """The forms that state, deny, or ask whether."""
    return [form for form in FAMILIES[family]
            if form.startswith("ask") == question and form.startswith("not_") == negated
            and not (question and Sentence(family, form, {}).asked_slot)]


class Speaker:
    """Draws sentences with the words of one part of the world's lists (None: of all parts).

    The parts `development` and `validation` use held-out clauses only, `train` none of them, None any clause.
    """

    def __init__(self, world: World, dice: Dice, part: str | None = None) -> None:
        self.world, self.dice, self.part = world, dice, part

    def may_say(self, text: str) -> bool:
        """True where this part may use every clause of the text."""
        return self.part is None or fits(text, self.part != "train")

    def fitting(self, draw: Callable[[], Sentence]) -> Sentence:
        """The first drawn sentence that is allowed in this part; NothingFits after PATIENCE others."""
        for _ in range(PATIENCE):
            if self.may_say(say(sentence := draw())):
                return sentence
        raise NothingFits

    def draw(self, name: str) -> Any:
        """An item of a list of the world; in the corpus some items of the lists in SKEW are rare."""
        if self.part is None and name in SKEW:
            ranked = self.world.by_frequency(name)
            return ranked[min(self.dice.number(0, len(ranked) - 1) for _ in range(SKEW[name]))]
        return self.dice.choice(self.world.items(name, self.part))

    def word(self, name: str) -> Any:
        """A word of a list of synonym groups."""
        return self.dice.choice(self.draw(name))

    def quality(self) -> str:
        """A word of either side of a scale."""
        return self.dice.choice(self.dice.choice(self.draw("qualities")))

    def noun(self) -> str:
        """An entity, or in a quarter of the cases its class."""
        noun = self.draw("nouns")
        return self.world.class_of[noun] if self.dice.chance(0.25) else noun

    def thing(self, plain: bool = False) -> NP:
        """A noun phrase about entities; `plain` is "the" or "a" and a noun."""
        if plain:
            return NP(self.noun(), self.dice.choice(("the", "a")))
        det = self.dice.choice(("the", "the", "a", "a", "some", self.dice.choice(COUNTS)))
        return NP(self.noun(), det, self.quality() if self.dice.chance(0.2) else None)

    def agent(self, plain: bool = False) -> NP:
        """A person or a thing, as a noun phrase."""
        return NP(self.draw("people"), det="") if self.dice.chance(0.3) else self.thing(plain)

    def form(self, family: str, negated: bool = False, question: bool = False) -> str:
        """A form of a family; questions ask whether."""
        return self.dice.choice(_forms(family, negated, question))

    def event(self, negated: bool = False, place: float = 0.5, plain: bool = False) -> Sentence:
        """An event of agent, verb and patient, with a place in a share of `place` of the cases."""
        slots = {"agent": self.agent(plain), "verb": self.word("verbs"), "patient": self.agent(plain),
                 "place": self.word("places") if self.dice.chance(place) else None}
        while slots["patient"].noun == slots["agent"].noun:
            slots["patient"] = self.agent(plain)
        return Sentence("event", self.form("event", negated), slots)

    def statement(self, family: str, negated: bool = False, plain: bool = False) -> Sentence:
        """A statement of a family with slots drawn at random."""
        if family == "event":
            return self.event(negated, plain=plain)
        form = self.form(family, negated)
        return Sentence(family, form, SLOTS[family](self, plain))

    def fact(self, family: str) -> Sentence:
        """A true statement about the world, not negated."""
        noun, person = self.draw("nouns"), self.world.persons[self.draw("people")]
        lower = noun if self.dice.chance(0.7) else self.world.class_of[noun]
        kind = self.world.class_of.get(lower, lower)
        slots: dict[str, dict[str, Any]] = {
            "isa": {"lower": lower, "upper": self.dice.choice(self.world.above(lower))},
            "can": {"lower": lower, "ability": self.world.ability_of[kind]},
            "colour": {"thing": NP(noun), "colour": self.world.colours[noun]},
            "lives": {"person": person.name, "town": person.town}, "works": {"person": person.name, "job": person.job},
            "age": {"person": person.name, "age": str(person.age)},
            "owns": {"person": person.name, "owned": person.owned},
        }
        return Sentence(family, self.form(family), slots[family])

    def untruth(self, sentence: Sentence) -> Sentence:
        """A true `isa` or `can` sentence with its class or ability replaced by a wrong one."""
        lower, world = sentence.slots["lower"], self.world
        if sentence.family == "can":
            ability = world.ability_of[world.class_of.get(lower, lower)]
            return sentence.in_form(sentence.form, ability=self.other(ability, sorted(world.ability_of.values())))
        wrong = [kind for kind in [*world.genus_of, *sorted(set(world.genus_of.values()))]
                 if kind != lower and kind not in world.above(lower)]
        return sentence.in_form(sentence.form, upper=self.dice.choice(wrong))

    def wrong_kind(self, noun: str) -> str:
        """A class or genus that a noun does not belong to; for a class, a genus."""
        world, leaf = self.world, noun in self.world.class_of
        options = [*world.genus_of] if leaf and self.dice.chance(0.5) else sorted(set(world.genus_of.values()))
        return self.dice.choice([kind for kind in options if kind not in world.above(noun)])

    def opinion(self, good: bool, negated: bool | None = None) -> Sentence:
        """A good or bad judgement; `negated` expresses it by denying the opposite."""
        negated = self.dice.chance(0.3) if negated is None else negated
        aspect = self.draw("aspects") if self.dice.chance(0.7) else self.draw("nouns")
        slots = {"aspect": aspect, "opinion": self.draw("praise" if good != negated else "blame"),
                 "degree": self.dice.choice(words.DEGREES.split()) if self.dice.chance(0.3) else None}
        return Sentence("opinion", self.form("opinion", negated), slots)

    def verdict(self, good: bool) -> Sentence:
        """A conclusion from a judgement: a feeling, advice or stars."""
        form, slot = self.dice.choice((("feel", "feel"), ("recommend", "advice"), ("stars", "stars")))
        phrase = self.dice.choice([phrase for phrase, sign in VERDICTS[slot].items() if sign == good])
        return Sentence("verdict", form, {slot: phrase})

    def other(self, value: Any, options: list[Any]) -> Any:
        """One of the options that is not `value`."""
        return self.dice.choice([option for option in options if option != value])

    def ways(self, slot: str, value: Any) -> tuple[str, ...]:
        """The changes that a value of a slot allows; a few of them can still be IMPOSSIBLE."""
        if isinstance(value, NP):
            ways: tuple[str, ...] = (UP, DOWN, OTHER) if value.det else (OTHER,)
            if self.part is not None and value.noun in self.world.class_of:
                ways = (UP, OTHER)  # it has no members
            return (*ways, SYNONYM) if value.quality else ways
        some = {"quality": (SYNONYM, OTHER), "verb": (SYNONYM, OTHER), "deed": (SYNONYM, OTHER),
                "place": (SYNONYM, UP, OTHER), "town": (UP, OTHER), "owned": (UP, DOWN, OTHER)}
        return some.get(slot, (OTHER,))

    def change(self, slot: str, value: Any, how: str) -> Any:
        """A value that is EQUAL, SYNONYM, UP, DOWN or OTHER relative to this one, or IMPOSSIBLE."""
        if how == EQUAL:
            return value
        if isinstance(value, NP):
            return self._change_phrase(value, how)
        if slot == "quality":
            return self._change_quality(value, how)
        if slot in ("verb", "deed", "place"):
            return self._change_grouped(f"{slot}s", value, how)
        if slot == "town" and how == UP:
            return self.world.country_of[value]
        if slot == "owned":
            return self._change_noun(value, how)
        if how != OTHER:
            return IMPOSSIBLE
        if slot == "age":
            return self.other(value, [str(age) for age in range(20, 80)])
        lists = {"colour": "colours", "material": "materials", "town": "towns", "job": "jobs", "person": "people"}
        return self.other(value, self.world.items(lists[slot], self.part))

    def _change_phrase(self, value: NP, how: str) -> Any:
        if how == SYNONYM:
            return replace(value, quality=self._change_quality(value.quality, how)) if value.quality else IMPOSSIBLE
        if not value.det:
            return NP(self.other(value.noun, self.world.items("people", self.part)), "") if how == OTHER else IMPOSSIBLE
        noun = self._change_noun(value.noun, how)
        return noun if noun is IMPOSSIBLE else replace(value, noun=noun)

    def _change_noun(self, value: str, how: str) -> Any:
        """A noun's class or genus, one of its members, or an unrelated noun: half the time of the same class."""
        world, nouns = self.world, self.world.items("nouns", self.part)
        if how == UP:
            return self.dice.choice(world.above(value)) if world.above(value) else IMPOSSIBLE
        if how == DOWN:
            members = [noun for noun in nouns if value in world.above(noun)]
            return self.dice.choice(members) if members else IMPOSSIBLE
        if how != OTHER:
            return IMPOSSIBLE
        unrelated, alike = world.unrelated(value, self.part)
        return self.dice.choice(alike if alike and self.dice.chance(0.5) else unrelated)

    def _change_quality(self, value: str, how: str) -> Any:
        """OTHER gives the opposite in two of five cases."""
        one, other = next(scale for scale in self.world.qualities if value in scale[0] or value in scale[1])
        same_side, opposite = (one, other) if value in one else (other, one)
        if how == SYNONYM:
            return self.other(value, same_side)
        if how == OTHER and self.dice.chance(0.4):
            return self.dice.choice(opposite)
        scales = self.world.items("qualities", self.part)
        options = [word for scale in scales for side in scale for word in side if word not in same_side]
        return self.dice.choice(options) if how == OTHER else IMPOSSIBLE

    def _change_grouped(self, name: str, value: Any, how: str) -> Any:
        if value is None:  # no place
            return self.word(name) if how == DOWN else IMPOSSIBLE
        synonyms = self.world.synonyms_of(name, value)
        if how == SYNONYM:
            return self.other(value, synonyms)
        if how == OTHER:
            others = [group for group in self.world.items(name, self.part) if group != synonyms]
            return self.dice.choice([word for group in others for word in group])
        return None if how == UP and name == "places" else IMPOSSIBLE


SLOTS: dict[str, Callable[[Speaker, bool], dict[str, Any]]] = {  # family -> its slots drawn at random
    "deed": lambda speaker, plain: {"agent": speaker.agent(plain), "deed": speaker.word("deeds"),
                                    "place": speaker.word("places") if speaker.dice.chance(0.5) else None},
    "habit": lambda speaker, plain: {"agent": speaker.agent(plain), "deed": speaker.word("deeds")},
    "quality": lambda speaker, plain: {"thing": speaker.agent(True), "quality": speaker.quality()},
    "colour": lambda speaker, plain: {"thing": NP(speaker.draw("nouns")), "colour": speaker.draw("colours")},
    "material": lambda speaker, plain: {"thing": NP(speaker.draw("nouns")), "material": speaker.draw("materials")},
    "lives": lambda speaker, plain: {"person": speaker.draw("people"), "town": speaker.draw("towns")},
    "works": lambda speaker, plain: {"person": speaker.draw("people"), "job": speaker.draw("jobs")},
    "age": lambda speaker, plain: {"person": speaker.draw("people"), "age": str(speaker.dice.number(20, 79))},
    "owns": lambda speaker, plain: {"person": speaker.draw("people"), "owned": speaker.draw("nouns")},
}
