"""Entailment, contradiction or neither between two sentences, from the world's taxonomy and synonyms.

Two statements of one family are compared slot by slot; the second one's slot is `equal` in meaning, `up` (more
general, or left out), `down` (more special, or added) or `other`. A statement is about some such event or thing, so
"the robin chased a bee" entails "a bird chased an insect" and its denial denies "the robin chased a bee at the river".
"""

from typing import Any

from experiments.tasks.world.families import COUNTS
from experiments.tasks.world.grammar import NP, Sentence, slots_of
from experiments.tasks.world.world import World

EQUAL, UP, DOWN, OTHER = "equal", "up", "down", "other"
ENTAILMENT, NEUTRAL, CONTRADICTION = "entailment", "neutral", "contradiction"
VALUES = {"quality": "quality", "colour": "colour", "material": "material", "lives": "town", "works": "job",
          "age": "age"}  # family -> slot that has one value for each thing


def relation(premise: Sentence, hypothesis: Sentence, world: World) -> str:
    """ENTAILMENT, NEUTRAL or CONTRADICTION of two statements."""
    if premise.family != hypothesis.family:
        return NEUTRAL
    slots = {slot: compare(slot, premise.slots.get(slot), hypothesis.slots.get(slot), world)
             for slot in slots_of(premise.family)}
    both = combine(slots.values())
    same_sign = ENTAILMENT if premise.negated == hypothesis.negated else CONTRADICTION
    if premise.negated:
        return same_sign if both in (EQUAL, DOWN) else NEUTRAL
    if both in (EQUAL, UP):
        return same_sign
    if excludes(premise, hypothesis, slots, world):  # red is not blue
        return ENTAILMENT if hypothesis.negated else CONTRADICTION
    return NEUTRAL


def combine(relations: Any) -> str:
    """The relation of the whole; up in one slot and down in another is no relation."""
    different = set(relations) - {EQUAL}
    return EQUAL if not different else different.pop() if len(different) == 1 else OTHER


def excludes(premise: Sentence, hypothesis: Sentence, slots: dict[str, str], world: World) -> bool:
    """True where the statements give one thing two values that exclude each other."""
    value = VALUES.get(premise.family)
    if value is None or slots[value] != OTHER or combine(r for slot, r in slots.items() if slot != value) != EQUAL:
        return False
    one, other = premise.slots[value], hypothesis.slots[value]
    if value != "quality":
        return True
    return any((one in a and other in b) or (one in b and other in a) for a, b in world.qualities)


def compare(slot: str, one: Any, other: Any, world: World) -> str:
    """EQUAL, UP, DOWN or OTHER: relation of the second value of a slot to the first."""
    if one is other:
        return EQUAL
    if one is None or other is None:
        return UP if other is None else DOWN
    if isinstance(one, NP):
        return compare_phrases(one, other, world)
    if slot in ("lower", "upper", "owned"):
        return compare_nouns(one, other, world)
    if slot == "town":
        return (EQUAL if one == other else UP if world.country_of.get(one) == other
                else DOWN if world.country_of.get(other) == one else OTHER)
    return EQUAL if one == other or synonymous(slot, one, other, world) else OTHER


def compare_phrases(one: NP, other: NP, world: World) -> str:
    """Noun, number, quality and neighbour of two noun phrases."""
    return combine([
        compare_nouns(one.noun, other.noun, world), _compare_counts(one.det, other.det),
        compare("quality", one.quality, other.quality, world), compare("near", one.near, other.near, world),
    ])


def compare_nouns(one: str, other: str, world: World) -> str:
    """Relation of the second noun to the first, by the taxonomy."""
    if one == other:
        return EQUAL
    return UP if other in world.above(one) else DOWN if one in world.above(other) else OTHER


def _compare_counts(one: str, other: str) -> str:
    """the and a: EQUAL; three -> some: UP."""
    singular = ("the", "a", "")
    if one == other or (one in singular and other in singular):
        return EQUAL
    return UP if one in COUNTS and other == "some" else DOWN if one == "some" and other in COUNTS else OTHER


def synonymous(slot: str, one: Any, other: Any, world: World) -> bool:
    """True where two words of a slot are synonyms."""
    if slot == "quality":
        return any(one in side and other in side for scale in world.qualities for side in scale)
    groups = {"verb": "verbs", "deed": "deeds", "place": "places"}
    return slot in groups and other in world.synonyms_of(groups[slot], one)
