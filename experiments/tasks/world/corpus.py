"""Documents to pre-train on: facts, narratives, reviews, questions with answers, tables with texts, pairs of sentences.

A document for training says no clause that is held out (experiments.tasks.world.holdout), a held-out one says some.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from experiments.tasks.world import glue, texts
from experiments.tasks.world.glue import changed, filled, inferred, reworded
from experiments.tasks.world.grammar import NP, Sentence, plural, say
from experiments.tasks.world.holdout import clauses, held_out
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

ANSWERS = {ENTAILMENT: "yes", CONTRADICTION: "no", NEUTRAL: "perhaps"}
CONCLUSIONS = {ENTAILMENT: "that is true .", CONTRADICTION: "that is false .", NEUTRAL: "that is open ."}
ASPECTS = {"agent": "doer", "quality": "look", "verb": "deed", "patient": "target", "place": "place"}
DENIED = 0.2  # of the judgements in reviews: with more, what a word is worth takes longer to learn
FAMILIES = ("event", "event", "event", "deed", "quality", "lives", "owns")


@dataclass(frozen=True)
class Document:
    """One or two texts; words and punctuation are separated by single spaces."""

    kind: str
    segments: tuple[str, ...]


def documents(world: World, seed: int, held_out: bool, stage: int) -> Iterator[Document]:
    """An endless stream of a stage's documents; one with held-out clauses never occurs in a training stream."""
    speaker = Speaker(world, world.dice(f"corpus {seed} {held_out} {stage}"))
    makers = [kind for kind, share in STAGES[stage].items() for _ in range(share)]
    while True:
        kind = speaker.dice.choice(makers)
        segments = MAKERS[kind](speaker)
        if segments is not None and _says_held_out(segments) == held_out:
            yield Document(kind.partition("_")[0], segments)


def _says_held_out(segments: tuple[str, ...]) -> bool:
    return any(held_out(clause) for segment in segments for clause in clauses(segment))


def kinds(speaker: Speaker) -> tuple[str, ...]:
    """What an entity is, what it is not, what it can do."""
    noun, dice, world = speaker.draw("nouns"), speaker.dice, speaker.world
    kind = world.class_of[noun]
    said = [
        Sentence("isa", speaker.form("isa"), {"lower": noun, "upper": kind}),
        Sentence("isa", speaker.form("isa"), {"lower": noun, "upper": world.genus_of[kind]}),
        Sentence("isa", speaker.form("isa"), {"lower": kind, "upper": world.genus_of[kind]}),
        Sentence("can", speaker.form("can"), {"lower": noun, "ability": world.ability_of[kind]}),
        Sentence("colour", speaker.form("colour"), {"thing": NP(noun), "colour": world.colours[noun]}),
    ]
    denied = speaker.untruth(Sentence("isa", speaker.form("isa", negated=True), {"lower": noun, "upper": kind}))
    alike = [plural(other) for other in dice.sample(world.members[kind], 3)]
    listed = f"{alike[0]} , {alike[1]} and {alike[2]} are {plural(kind)} ."
    return (" ".join([*dice.shuffled([say(sentence) for sentence in [*said, denied]])[:3], listed]),)


def person(speaker: Speaker) -> tuple[str, ...]:
    """What is true of someone."""
    name = speaker.draw("people")
    facts = []
    for family in speaker.dice.sample(("lives", "works", "age", "owns"), 3):
        fact = speaker.fact(family)
        own = speaker.world.persons[name]
        value = {"lives": ("town", own.town), "works": ("job", own.job), "age": ("age", str(own.age)),
                 "owns": ("owned", own.owned)}[family]
        facts.append(say(fact.said(fact.form, person=name, **dict([value]))))
    town = speaker.draw("towns")
    return (" ".join([*facts, f"{town} is a town in {speaker.world.country_of[town]} ."]),)


def narrative(speaker: Speaker) -> tuple[str, ...]:
    """An event, told again in other words, and what else its people and things did."""
    first = speaker.event(place=0.8)
    again = reworded(speaker, first, same=True, question=False) or first
    more = speaker.event(place=0.3)
    cast = [first.slots["agent"], first.slots["patient"]]
    more = more.said(more.form, agent=cast[speaker.dice.number(0, 1)])
    habit = speaker.statement(speaker.dice.choice(("habit", "deed", "quality")), negated=speaker.dice.chance(0.2))
    slot = "thing" if habit.family == "quality" else "agent"
    subject = cast[speaker.dice.number(0, 1)]
    if subject.det and speaker.dice.chance(0.5):
        subject = NP(subject.noun, subject.det, subject.quality, speaker.thing())
    habit = habit.said(habit.form, **{slot: subject})
    return (" ".join([say(first), say(more), "in other words ,", say(again), say(habit)]),)


def agreement(speaker: Speaker) -> tuple[str, ...]:
    """What things do and are like, beside other things."""
    said = []
    for family in ("habit", "quality", "habit"):
        sentence = speaker.statement(family, negated=speaker.dice.chance(0.2))
        subject = NP(speaker.noun(), speaker.thing().det, None, speaker.thing())
        said.append(say(sentence.said(sentence.form, **{"thing" if family == "quality" else "agent": subject})))
    return (" ".join(said),)


def review(speaker: Speaker) -> tuple[str, ...]:
    """Judgements that agree, or the last of which decides, and what they lead to."""
    dice = speaker.dice
    good = dice.chance(0.5)

    def opinion(good: bool) -> str:
        return say(speaker.opinion(good, negated=dice.chance(DENIED)))

    if dice.chance(0.2):
        said = [f"{opinion(not good)[:-2]} , but {opinion(good)}"]
    else:
        said = [opinion(good) for _ in range(dice.number(1, 2))]
    verdicts = dict.fromkeys(say(speaker.verdict(good)) for _ in range(2 if dice.chance(0.3) else 1))
    return (" ".join([*said, *verdicts]),)


def answered(speaker: Speaker) -> tuple[str, ...] | None:
    """A statement, and a question whose answer is yes, no or perhaps."""
    dice = speaker.dice
    premise = speaker.statement(dice.choice(FAMILIES), negated=dice.chance(0.3), plain=True)
    answer = dice.choice((ENTAILMENT, CONTRADICTION, ENTAILMENT, CONTRADICTION, NEUTRAL))
    hypothesis = inferred(speaker, premise, answer, negate=True)
    if hypothesis is None:
        return None
    if hypothesis.negated:  # is asked without its denial, whose answer is the opposite
        answer = {ENTAILMENT: CONTRADICTION, CONTRADICTION: ENTAILMENT, NEUTRAL: NEUTRAL}[answer]
    asked = hypothesis.said(speaker.form(hypothesis.family, question=True))
    return (say(premise), f"{say(asked)} {ANSWERS[answer]} .")


def known(speaker: Speaker) -> tuple[str, ...]:
    """A question about kinds or abilities, its answer, and half the time the reason."""
    fact = speaker.fact(speaker.dice.choice(("isa", "can")))
    right = speaker.dice.chance(0.5)
    asked = fact if right else speaker.untruth(fact)
    said = say(asked.said(speaker.form(asked.family, question=True)))
    answer = "yes" if right else "no"
    return (f"{said} {answer} , {say(fact)}" if speaker.dice.chance(0.5) else f"{said} {answer} .",)


def replied(speaker: Speaker) -> tuple[str, ...] | None:
    """A question for someone, something or somewhere, and a sentence that answers it or does not."""
    row = glue.qnli(speaker, label := speaker.dice.number(0, 1))
    if row is None:
        return None
    if label == 0 and speaker.dice.chance(0.3):
        return (row["question"], row["sentence"])
    return (row["question"], f"{row['sentence']} that is {'irrelevant' if label else 'relevant'} .")


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
    dice, event = speaker.dice, speaker.event(place=0.9)
    answers = []
    for slot in dice.shuffled([*filled(event), *filled(event)])[:7]:
        how = dice.choice((EQUAL, SYNONYM, UP) if dice.chance(0.5) else (OTHER,))
        value = speaker.change(slot, event.slots[slot], how if how in speaker.ways(slot, event.slots[slot]) else EQUAL)
        if value is IMPOSSIBLE or value is None:
            continue
        answers.append(f"{word_of(value)} ? {'yes' if speaks_of(event, slot, value, speaker.world) else 'no'} .")
    return (say(event), " ".join(answers))


def speaks_of(event: Sentence, slot: str, value: Any, world: World) -> bool:
    """Whether a word of an event means a slot's value, or for a noun a kind of it."""
    if isinstance(value, NP):
        cast = [event.slots["agent"], event.slots["patient"]]
        return any(compare_nouns(phrase.noun, value.noun, world) in (EQUAL, UP) for phrase in cast)
    return compare(slot, event.slots[slot], value, world) == EQUAL


def word_of(value: Any) -> str:
    """The noun of a phrase, a verb in the past, a word as it is."""
    return value.noun if isinstance(value, NP) else value.past if isinstance(value, Verb) else str(value)


def synonyms(speaker: Speaker) -> tuple[str, ...]:
    """One event in two wordings."""
    first = speaker.event(place=1.0, plain=True)
    other = changed(speaker, first, ["verb", "place"], (SYNONYM, EQUAL)) or first
    slots = dict.fromkeys(filled(first))
    return (f"{say(first)} in other words , {say(other.said(speaker.form('event')))}",) if slots else ("",)


MAKERS: dict[str, Callable[[Speaker], tuple[str, ...] | None]] = {
    "facts_kinds": kinds, "facts_person": person, "narrative": narrative, "narrative_agreement": agreement,
    "review": review, "question_answered": answered, "question_known": known, "question_replied": replied,
    "pair": pair, "pair_retold": retold, "pair_compared": compared, "pair_synonyms": synonyms,
    "pair_mentioned": mentioned,
    "table_restaurant": texts.restaurant_document, "table_triples": texts.triples_document,
    "table_dialogue": texts.dialogue_document,
}
STAGES: tuple[dict[str, int], ...] = (  # a curriculum: of each kind of document, how many in a round
    {  # what there is, and how it is said
        "facts_kinds": 16, "facts_person": 3, "narrative": 8, "narrative_agreement": 5, "review": 14,
        "question_answered": 8, "question_known": 8, "pair_synonyms": 10, "table_restaurant": 3, "table_triples": 3,
        "table_dialogue": 3,
    },
    {"pair_mentioned": 1},  # to look a word up in a sentence: apart from the rest it takes a fifth of the text
    {  # all of it, with verdicts on pairs of sentences
        "facts_kinds": 16, "facts_person": 3, "narrative": 6, "narrative_agreement": 5, "review": 14,
        "question_answered": 12, "question_known": 8, "question_replied": 16, "pair": 16, "pair_retold": 20,
        "pair_compared": 20, "pair_synonyms": 4, "pair_mentioned": 16, "table_restaurant": 3, "table_triples": 3,
        "table_dialogue": 3,
    },
)
