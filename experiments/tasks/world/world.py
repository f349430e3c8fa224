"""The micro-world: entities in a taxonomy, people and their facts, and the words for them.

A world is a function of its parameters. Each list of open-class words is divided in three parts, so that a task can
train on some words and be evaluated on others: `train` (half), `development` and `validation` (a quarter each).
"""

import functools
from dataclasses import dataclass
from typing import Any

from experiments.tasks.world import words
from experiments.tasks.world.dice import Dice

PARTS = ("train", "development", "validation")
LISTS = ("nouns", "people", "towns", "jobs", "colours", "materials", "places", "verbs", "deeds", "qualities", "praise",
         "blame", "aspects", "restaurants")


@dataclass(frozen=True)
class Verb:
    """A verb, with its forms."""

    base: str
    third: str
    past: str


@dataclass(frozen=True)
class Person:
    """Facts about a person; `owned` is an entity that the person owns."""

    name: str
    pronoun: str
    town: str
    job: str
    age: int
    owned: str


@dataclass(frozen=True)
class World:
    """A world of `entities` in `classes`, with facts drawn from `seed`."""

    seed: int
    entities: int  # of all kinds together: equally many a class
    classes: int
    people: int

    def __post_init__(self) -> None:
        most = {"classes": len(self._all_classes()), "people": len(_split(" ".join(words.NAMES.values())))}
        least = {"classes": 12, "people": 24}  # with fewer, some seeds lack words for as many rows as conf/task asks
        if not whole(self.seed):
            raise ValueError(f"world.seed {self.seed!r} is not a whole number")
        for key, highest in most.items():
            if not whole(getattr(self, key)) or not least[key] <= getattr(self, key) <= highest:
                raise ValueError(f"world.{key} {getattr(self, key)} is not a whole number in {least[key]}..{highest}")
        lowest, highest = 4 * self.classes, 8 * self.classes
        if not whole(self.entities) or not lowest <= self.entities <= highest:
            raise ValueError(
                f"world.entities {self.entities!r} is not a whole number in {lowest}..{highest}: each of "
                f"world.classes={self.classes} classes needs 4 to 8, so that every part of a task has some of each"
            )

    @staticmethod
    def _all_classes() -> list[tuple[str, str, list[str]]]:
        """(genus, class, its nouns)."""
        return [(genus, kind, nouns.split())
                for genus, kinds in words.TAXONOMY.items() for kind, nouns in kinds.items()]

    def dice(self, stream: str) -> Dice:
        """The random stream of that name."""
        return Dice(f"world {self.seed} {stream}")

    @functools.cached_property
    def members(self) -> dict[str, list[str]]:
        """Nouns by class, in an order drawn for this world."""
        chosen = self._spread_classes()
        counts = [self.entities // self.classes + (i < self.entities % self.classes) for i in range(self.classes)]
        return {kind: self.dice(f"members {kind}").sample(nouns, count)
                for (_, kind, nouns), count in zip(chosen, counts, strict=True)}

    def _spread_classes(self) -> list[tuple[str, str, list[str]]]:
        """The first `classes` classes when those of each genus are taken in turn."""
        ranks: dict[str, int] = {}
        ranked = []
        for entry in self._all_classes():
            ranks[entry[0]] = ranks.get(entry[0], -1) + 1
            ranked.append((ranks[entry[0]], entry))
        return [entry for _, entry in sorted(ranked, key=lambda pair: pair[0])][:self.classes]

    @functools.cached_property
    def genus_of(self) -> dict[str, str]:
        """Class -> genus."""
        return {kind: genus for genus, kind, _ in self._all_classes() if kind in self.members}

    @functools.cached_property
    def class_of(self) -> dict[str, str]:
        """Noun -> class."""
        return {noun: kind for kind, nouns in self.members.items() for noun in nouns}

    def above(self, noun: str) -> list[str]:
        """Class and genus of a noun, genus of a class, nothing for a genus."""
        return self._above.get(noun, [])

    @functools.cached_property
    def _above(self) -> dict[str, list[str]]:
        classes = {kind: [genus] for kind, genus in self.genus_of.items()}
        return classes | {noun: [kind, self.genus_of[kind]] for noun, kind in self.class_of.items()}

    @functools.lru_cache(maxsize=4096)  # noqa: B019  a world lives as long as its process
    def unrelated(self, noun: str, part: str | None) -> tuple[list[str], list[str]]:
        """Nouns of a part that are neither this noun nor a kind of it: all, and those of its class."""
        others = [other for other in self.items("nouns", part) if other != noun and noun not in self.above(other)]
        return others, [other for other in others if self.class_of[other] == self.class_of.get(noun)]

    @functools.cached_property
    def country_of(self) -> dict[str, str]:
        """Town -> country."""
        return {town: country for country, towns in words.COUNTRIES.items() for town in towns.split()}

    @functools.cached_property
    def ability_of(self) -> dict[str, str]:
        """Class -> ability of its members."""
        pairs = dict(pair.split() for pair in words.ABILITIES.split(","))
        return {kind: pairs[kind] for kind in self.members}

    @functools.cached_property
    def synonyms(self) -> dict[str, list[list[Any]]]:
        """Groups of words with one meaning: verbs and deeds as `Verb`, places as text."""
        verbs, deeds = ([[Verb(*form.split()) for form in line.split("=")] for line in text.split("\n")]
                        for text in (words.VERBS, words.DEEDS))
        return {"verbs": verbs, "deeds": deeds, "places": [pair.split() for pair in words.PLACES.split(",")]}

    def synonyms_of(self, name: str, word: Any) -> list[Any]:
        """The group of a verb, deed or place."""
        return self._groups[name][word]

    @functools.cached_property
    def _groups(self) -> dict[str, dict[Any, list[Any]]]:
        return {name: {word: group for group in groups for word in group} for name, groups in self.synonyms.items()}

    @functools.cached_property
    def qualities(self) -> list[tuple[list[str], list[str]]]:
        """Scales: the words of one side, those of the opposite."""
        sides = [scale.split("/") for scale in words.QUALITIES.split(",")]
        return [(one.split(), other.split()) for one, other in sides]

    @functools.cached_property
    def persons(self) -> dict[str, Person]:
        """Everyone by name, half of each pronoun."""
        dice, nouns = self.dice("people"), sorted(self.class_of)
        persons = {}
        for number in range(self.people):
            pronoun = ("she", "he")[number % 2]
            name = words.NAMES[pronoun].split()[number // 2]
            persons[name] = Person(name, pronoun, dice.choice(sorted(self.country_of)), dice.choice(_split(words.JOBS)),
                                 dice.number(20, 79), dice.choice(nouns))
        return persons

    @functools.cached_property
    def colours(self) -> dict[str, str]:
        """Noun -> its colour."""
        dice = self.dice("colours")
        return {noun: dice.choice(_split(words.COLOURS)) for noun in sorted(self.class_of)}

    @functools.cached_property
    def _parted(self) -> dict[str, dict[str | None, list[Any]]]:
        """The open-class lists by part; None is the whole list."""
        whole: dict[str, list[Any]] = {
            "people": list(self.persons), "towns": sorted(self.country_of), "jobs": _split(words.JOBS),
            "colours": _split(words.COLOURS), "materials": _split(words.MATERIALS), "qualities": self.qualities,
            "praise": _split(words.PRAISE), "blame": _split(words.BLAME), "aspects": _split(words.ASPECTS),
            "restaurants": _split(words.RESTAURANTS), **self.synonyms,
        }
        parted: dict[str, dict[str, list[Any]]]
        parted = {name: divide(self.dice(f"parts {name}").shuffled(items)) for name, items in whole.items()}
        by_class = [divide(nouns) for nouns in self.members.values()]
        parted["nouns"] = {part: [noun for nouns in by_class for noun in nouns[part]] for part in PARTS}
        whole = {name: [item for items in parts.values() for item in items] for name, parts in parted.items()}
        return {name: {None: whole[name], **{part: parts[part] for part in PARTS}} for name, parts in parted.items()}

    @functools.lru_cache(maxsize=64)  # noqa: B019
    def by_frequency(self, name: str) -> list[Any]:
        """One of LISTS, most frequent in the corpus first; each part has words of all ranks."""
        return self.dice(f"frequency {name}").shuffled(self.items(name, None))

    def items(self, name: str, part: str | None) -> list[Any]:
        """One part of one of LISTS; None is the whole list."""
        return self._parted[name][part]


def whole(value: Any) -> bool:
    """True for a whole number; false for a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def divide(items: list[Any]) -> dict[str, list[Any]]:
    """The parts of a list: a half and two quarters, none empty; needs three items."""
    quarter = max(1, len(items) // 4)
    half = len(items) - 2 * quarter
    return dict(zip(PARTS, (items[:half], items[half:half + quarter], items[half + quarter:]), strict=True))


def _split(text: str) -> list[str]:
    return text.split()
