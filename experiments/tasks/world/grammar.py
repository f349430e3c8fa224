"""Sentences of the micro-world, generated and parsed by one grammar.

A pattern is a line of FAMILIES: words, slots `name:form` and agreements `@name:word`. `say` fills it; `read` finds
every sentence with exactly these words, so that a text is grammatical if and only if it can be read.

    agent:np verb:past patient:np place:at .      the robin chased two dogs at the river .
    @patient:was patient:np verb:past by agent:np ?   were two dogs chased by the robin ?
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from experiments.tasks.world import words
from experiments.tasks.world.families import AGREEMENTS, COUNTS, FAMILIES, VERDICTS
from experiments.tasks.world.world import Verb, World

MANY = frozenset((*COUNTS, "some"))  # determiners of the plural
Part = str | Callable[[dict[str, Any]], str]  # of a text: a word, or a function of the slots, "" for no word


@dataclass(frozen=True)
class NP:
    """A noun phrase: "the big robin near two dogs", "mary"."""

    noun: str
    det: str = "the"  # the, a, some or one of COUNTS; empty for a name
    quality: str | None = None
    near: "NP | None" = None

    @property
    def plural(self) -> bool:
        """True where a verb agrees with it in the plural."""
        return self.det in MANY


@dataclass(frozen=True)
class Sentence:
    """A form of a family with its slots filled; verbs are `Verb`s, noun phrases `NP`s, the rest text."""

    family: str
    form: str
    slots: dict[str, Any] = field(hash=False)

    @property
    def pattern(self) -> str:
        """The line of FAMILIES."""
        return FAMILIES[self.family][self.form]

    @property
    def negated(self) -> bool:
        """True for a negated form."""
        return self.form.startswith("not_")

    @property
    def question(self) -> bool:
        """True for a question."""
        return self.form.startswith("ask")

    @property
    def asked_slot(self) -> str | None:
        """The slot that a question asks for; None for a yes-no question and a statement."""
        slot = self.form.split("_")[1] if self.form.startswith("ask_") else None
        return slot if slot in slots_of(self.family) else None

    def in_form(self, form: str, **slots: Any) -> "Sentence":
        """The same sentence in another form, with these slots replaced."""
        return Sentence(self.family, form, self.slots | slots)


@functools.cache
def slots_of(family: str) -> tuple[str, ...]:
    """The slots of a family, in the order of its first forms."""
    elements = [element for pattern in FAMILIES[family].values() for element in pattern.split()]
    return tuple(dict.fromkeys("deed" if e == "@agent:deed" else e.split(":")[0] for e in elements
                               if ":" in e and (e[0] != "@" or e == "@agent:deed")))


@functools.cache
def plural(noun: str) -> str:
    """robins, foxes, lilies, wolves."""
    if noun in words.IRREGULAR_PLURALS:
        return words.IRREGULAR_PLURALS[noun]
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    return f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2] not in "aeiou" else f"{noun}s"


def with_articles(tokens: list[str]) -> list[str]:
    """The tokens with `a` replaced by `an` before a vowel."""
    if "a" not in tokens:
        return tokens
    pairs = zip(tokens, [*tokens[1:], ""], strict=True)
    return ["an" if word == "a" and after[:1] in tuple("aeiou") else word for word, after in pairs]


def say(sentence: Sentence) -> str:
    """The sentence as text, words and punctuation separated by spaces."""
    slots = sentence.slots
    text = " ".join([said for part in _parts(sentence.family, sentence.form)
                     if (said := part if isinstance(part, str) else part(slots))])
    return " ".join(with_articles(text.split())) if text.startswith("a ") or " a " in text else text


@functools.cache
def _parts(family: str, form: str) -> list[Part]:
    """The places of a pattern."""
    return [_part(element) for element in FAMILIES[family][form].split()]


def _part(element: str) -> Part:
    name, _, form = element.lstrip("@").partition(":")
    if not form:
        return name
    if element == "@agent:deed":
        return lambda slots: slots["deed"].base if slots[name].plural else slots["deed"].third
    if element.startswith("@"):
        return lambda slots: AGREEMENTS[form] if slots[name].plural else form
    ways: dict[str, Callable[[Any], str]] = {
        "np": _say_np, "nouns": plural, "past": attrgetter("past"), "base": attrgetter("base"),
        "at": lambda place: "" if place is None else f"at the {place}",  # this and the next may be left out
        "some": lambda degree: degree or ""}
    says = ways.get(form, str)
    return lambda slots: says(slots.get(name))


def _say_np(np: NP) -> str:
    noun = plural(np.noun) if np.plural else np.noun
    said = " ".join([word for word in (np.det, np.quality, noun) if word])
    return f"{said} near {_say_np(np.near)}" if np.near else said


@functools.lru_cache
class Reader:
    """Parses the texts of `say` in a world."""

    def __init__(self, world: World) -> None:
        nouns = [*world.class_of, *world.genus_of, *dict.fromkeys(world.genus_of.values()),
                 *(aspect for aspect in world.items("aspects", None) if aspect not in world.class_of)]
        self.nouns = {noun: noun for noun in nouns}
        self.plurals = {plural(noun): noun for noun in nouns}
        self.either = self.nouns | self.plurals
        self.names = set(world.persons)
        self.qualities = {word for scale in world.qualities for side in scale for word in side}
        self.verbs: dict[str, dict[str, dict[str, Verb]]] = {}
        for slot, name in (("verb", "verbs"), ("deed", "deeds")):
            lemmas = [word for group in world.synonyms[name] for word in group]
            self.verbs[slot] = {form: {getattr(lemma, form): lemma for lemma in lemmas}
                                for form in ("base", "third", "past")}
        self.words = _closed_lists(world)

    @functools.cached_property
    def _patterns(self) -> list[tuple[str, str, list[str], set[str]]]:
        """Family, form, elements and those of them that are words."""
        return [(family, form, pattern.split(), {word for word in pattern.split() if ":" not in word})
                for family, forms in FAMILIES.items() for form, pattern in forms.items()]

    def read(self, text: str) -> list[Sentence]:
        """Every sentence with this text; none if the text breaks the grammar."""
        tokens = ["a" if word == "an" else word for word in text.split()]
        sentences, said = [], set(tokens)
        for family, form, pattern, fixed in self._patterns:
            if pattern[-1] == tokens[-1] and fixed <= said:
                for slots in self._match(pattern, tokens):
                    sentence = Sentence(family, form, slots)
                    if say(sentence) == text:  # articles and agreement
                        sentences.append(sentence)
        return sentences

    def _match(self, pattern: list[str], tokens: list[str]) -> Iterator[dict[str, Any]]:
        """Slots by name for each way to match the tokens with the pattern, agreement unchecked."""
        if not pattern or not tokens:
            if not pattern and not tokens:
                yield {}
            return
        element, rest = pattern[0], pattern[1:]
        if ":" not in element:
            if tokens[0] == element:
                yield from self._match(rest, tokens[1:])
            return
        name, form = element.lstrip("@").split(":")
        for value, used in self._values(name, form, element.startswith("@"), tokens):
            for slots in self._match(rest, tokens[used:]):
                yield (slots if value is _NOTHING else {name if form != "deed" else "deed": value}) | slots

    def _values(self, name: str, form: str, agreement: bool, tokens: list[str]) -> Iterator[tuple[Any, int]]:
        """(value, tokens used) for each way to read a slot at the start of `tokens`."""
        first = tokens[0]
        if agreement and form != "deed":
            if first in (form, AGREEMENTS[form]):
                yield _NOTHING, 1
        elif agreement:
            for table in (self.verbs["deed"]["base"], self.verbs["deed"]["third"]):
                if first in table:
                    yield table[first], 1
        elif form == "np":
            yield from self._noun_phrases(tokens)
        elif form == "at":
            yield None, 0
            if tokens[:2] == ["at", "the"] and len(tokens) > 2 and tokens[2] in self.words["place"]:
                yield tokens[2], 3
        elif form == "some":
            yield None, 0
            if first in self.words["degree"]:
                yield first, 1
        elif form in ("past", "base"):
            if first in self.verbs[name][form]:
                yield self.verbs[name][form][first], 1
        elif form in ("noun", "nouns"):
            table = self.nouns if form == "noun" else self.plurals
            if first in table:
                yield table[first], 1
        elif form == "verdict":
            for phrase in VERDICTS[name]:
                if tokens[:len(phrase.split())] == phrase.split():
                    yield phrase, len(phrase.split())
        elif form == "name":
            if first in self.names:
                yield first, 1
        elif first in self.words[name]:
            yield first, 1

    def _noun_phrases(self, tokens: list[str]) -> Iterator[tuple[NP, int]]:
        if tokens[0] in self.names:
            yield NP(tokens[0], det=""), 1
            return
        det, used = tokens[0], 1
        if det not in ("the", "a", "some", *COUNTS):
            return
        quality = tokens[used] if len(tokens) > used and tokens[used] in self.qualities else None
        used += quality is not None
        noun = self.either.get(tokens[used]) if len(tokens) > used else None
        if noun is None:
            return
        yield NP(noun, det, quality), used + 1
        if len(tokens) > used + 2 and tokens[used + 1] == "near":
            for near, more in self._noun_phrases(tokens[used + 2:]):
                yield NP(noun, det, quality, near), used + 2 + more


_NOTHING = object()


def _closed_lists(world: World) -> dict[str, set[str]]:
    """Words allowed in a slot of form `word`, by slot."""
    numbers = {str(number) for number in range(20, 80)}
    return {
        "place": {word for pair in world.synonyms["places"] for word in pair}, "degree": set(words.DEGREES.split()),
        "quality": {word for scale in world.qualities for side in scale for word in side},
        "colour": set(words.COLOURS.split()), "material": set(words.MATERIALS.split()),
        "town": set(world.country_of) | set(world.country_of.values()), "job": set(words.JOBS.split()),
        "age": numbers, "ability": set(world.ability_of.values()),
        "opinion": {*words.PRAISE.split(), *words.BLAME.split()}, "name": set(words.RESTAURANTS.split()),
        "near": set(words.RESTAURANTS.split()), "venue": set(words.VENUES.split()),
        "cuisine": set(words.CUISINES.split()), "area": set(words.AREAS.split()), "price": set(words.PRICES.split()),
        "rating": set(words.RATINGS.split()),
    }
