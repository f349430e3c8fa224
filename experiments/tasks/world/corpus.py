"""Documents to pre-train on: facts, narratives, reviews, questions with answers, tables with texts, pairs of sentences.

A training document has no held-out clause (experiments.tasks.world.holdout), a held-out document has some.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from experiments.tasks.world import pairs, texts
from experiments.tasks.world.glue import inferred, reworded
from experiments.tasks.world.grammar import NP, Sentence, plural, say
from experiments.tasks.world.holdout import clauses, held_out
from experiments.tasks.world.reasoning import CONTRADICTION, ENTAILMENT, NEUTRAL
from experiments.tasks.world.speaker import Speaker
from experiments.tasks.world.world import World

ANSWERS = {ENTAILMENT: "yes", CONTRADICTION: "no", NEUTRAL: "perhaps"}
DENIED = 0.2  # share of the judgements in reviews; with more, the polarity of words takes longer to learn


@dataclass(frozen=True)
class Document:
    """One or two texts; words and punctuation are separated by single spaces."""

    kind: str
    segments: tuple[str, ...]


def documents(world: World, curriculum: str, seed: int, held_out: bool, stage: int) -> Iterator[Document]:
    """An endless stream of documents of a stage: those without held-out clauses, or (held_out) those with some."""
    speaker = Speaker(world, world.dice(f"corpus {seed} {held_out} {stage}"))
    makers = [kind for kind, share in CURRICULA[curriculum][stage].items() for _ in range(share)]
    while True:
        kind = speaker.dice.choice(makers)
        segments = MAKERS[kind](speaker)
        if segments is not None and _says_held_out(segments) == held_out:
            yield Document(kind.partition("_")[0], segments)


def _says_held_out(segments: tuple[str, ...]) -> bool:
    return any(held_out(clause) for segment in segments for clause in clauses(segment))


def kinds(speaker: Speaker) -> tuple[str, ...]:
    """Kind, colour and ability of an entity, and a kind that it does not belong to."""
    noun, dice, world = speaker.draw("nouns"), speaker.dice, speaker.world
    kind = world.class_of[noun]
    sentences = [
        Sentence("isa", speaker.form("isa"), {"lower": noun, "upper": kind}),
        Sentence("isa", speaker.form("isa"), {"lower": noun, "upper": world.genus_of[kind]}),
        Sentence("isa", speaker.form("isa"), {"lower": kind, "upper": world.genus_of[kind]}),
        Sentence("can", speaker.form("can"), {"lower": noun, "ability": world.ability_of[kind]}),
        Sentence("colour", speaker.form("colour"), {"thing": NP(noun), "colour": world.colours[noun]}),
    ]
    denied = speaker.untruth(Sentence("isa", speaker.form("isa", negated=True), {"lower": noun, "upper": kind}))
    alike = [plural(other) for other in dice.sample(world.members[kind], 3)]
    listed = f"{alike[0]} , {alike[1]} and {alike[2]} are {plural(kind)} ."
    return (" ".join([*dice.shuffled([say(sentence) for sentence in [*sentences, denied]])[:3], listed]),)


def person(speaker: Speaker) -> tuple[str, ...]:
    """Facts about a person."""
    name = speaker.draw("people")
    facts = []
    for family in speaker.dice.sample(("lives", "works", "age", "owns"), 3):
        fact = speaker.fact(family)
        traits = speaker.world.persons[name]
        value = {"lives": ("town", traits.town), "works": ("job", traits.job), "age": ("age", str(traits.age)),
                 "owns": ("owned", traits.owned)}[family]
        facts.append(say(fact.in_form(fact.form, person=name, **dict([value]))))
    town = speaker.draw("towns")
    return (" ".join([*facts, f"{town} is a town in {speaker.world.country_of[town]} ."]),)


def narrative(speaker: Speaker) -> tuple[str, ...]:
    """An event, a paraphrase of it, and other events and habits of its participants."""
    first = speaker.event(place=0.8)
    again = reworded(speaker, first, same=True, question=False) or first
    more = speaker.event(place=0.3)
    cast = [first.slots["agent"], first.slots["patient"]]
    more = more.in_form(more.form, agent=cast[speaker.dice.number(0, 1)])
    habit = speaker.statement(speaker.dice.choice(("habit", "deed", "quality")), negated=speaker.dice.chance(0.2))
    slot = "thing" if habit.family == "quality" else "agent"
    subject = cast[speaker.dice.number(0, 1)]
    if subject.det and speaker.dice.chance(0.5):
        subject = NP(subject.noun, subject.det, subject.quality, speaker.thing())
    habit = habit.in_form(habit.form, **{slot: subject})
    return (" ".join([say(first), say(more), "in other words ,", say(again), say(habit)]),)


def agreement(speaker: Speaker) -> tuple[str, ...]:
    """Actions and qualities of things that stand near others, for agreement with the right noun."""
    sentences = []
    for family in ("habit", "quality", "habit"):
        sentence = speaker.statement(family, negated=speaker.dice.chance(0.2))
        subject = NP(speaker.noun(), speaker.thing().det, None, speaker.thing())
        sentences.append(say(sentence.in_form(sentence.form, **{"thing" if family == "quality" else "agent": subject})))
    return (" ".join(sentences),)


def review(speaker: Speaker) -> tuple[str, ...]:
    """Judgements that agree, or of which the last decides, and the conclusions from them."""
    dice = speaker.dice
    good = dice.chance(0.5)

    def opinion(good: bool) -> str:
        return say(speaker.opinion(good, negated=dice.chance(DENIED)))

    if dice.chance(0.2):
        opinions = [f"{opinion(not good)[:-2]} , but {opinion(good)}"]
    else:
        opinions = [opinion(good) for _ in range(dice.number(1, 2))]
    verdicts = dict.fromkeys(say(speaker.verdict(good)) for _ in range(2 if dice.chance(0.3) else 1))
    return (" ".join([*opinions, *verdicts]),)


def answered(speaker: Speaker) -> tuple[str, ...] | None:
    """A statement, and a question whose answer is yes, no or perhaps."""
    dice = speaker.dice
    premise = speaker.statement(dice.choice(pairs.FAMILIES), negated=dice.chance(0.3), plain=True)
    answer = dice.choice((ENTAILMENT, CONTRADICTION, ENTAILMENT, CONTRADICTION, NEUTRAL))
    hypothesis = inferred(speaker, premise, answer, negate=True)
    if hypothesis is None:
        return None
    if hypothesis.negated:  # is asked without its denial, whose answer is the opposite
        answer = {ENTAILMENT: CONTRADICTION, CONTRADICTION: ENTAILMENT, NEUTRAL: NEUTRAL}[answer]
    question = hypothesis.in_form(speaker.form(hypothesis.family, question=True))
    return (say(premise), f"{say(question)} {ANSWERS[answer]} .")


def general_knowledge(speaker: Speaker) -> tuple[str, ...]:
    """A question about kinds or abilities, its answer, and half the time the reason."""
    fact = speaker.fact(speaker.dice.choice(("isa", "can")))
    right = speaker.dice.chance(0.5)
    statement = fact if right else speaker.untruth(fact)
    question = say(statement.in_form(speaker.form(statement.family, question=True)))
    answer = "yes" if right else "no"
    return (f"{question} {answer} , {say(fact)}" if speaker.dice.chance(0.5) else f"{question} {answer} .",)


MAKERS: dict[str, Callable[[Speaker], tuple[str, ...] | None]] = {
    "facts_kinds": kinds, "facts_person": person, "narrative": narrative, "narrative_agreement": agreement,
    "review": review, "question_answered": answered, "question_known": general_knowledge,
    "question_replied": pairs.replied, "pair": pairs.pair, "pair_retold": pairs.retold,
    "pair_compared": pairs.compared, "pair_synonyms": pairs.synonyms, "pair_mentioned": pairs.mentioned,
    "pair_listed": pairs.listed, "pair_looked_up": pairs.looked_up, "pair_aligned": pairs.aligned,
    "pair_recounted": pairs.recounted, "table_restaurant": texts.restaurant_document,
    "table_triples": texts.triples_document, "table_dialogue": texts.dialogue_document,
}
Stage = dict[str, int]  # kind of document -> relative frequency
BASICS: Stage = {  # facts and sentences
    "facts_kinds": 16, "facts_person": 3, "narrative": 8, "narrative_agreement": 5, "review": 14,
    "question_answered": 8, "question_known": 8, "pair_synonyms": 10, "table_restaurant": 3, "table_triples": 3,
    "table_dialogue": 3,
}
VERDICTS: Stage = {  # all kinds, with verdicts on pairs of sentences
    "facts_kinds": 16, "facts_person": 3, "narrative": 6, "narrative_agreement": 5, "review": 14,
    "question_answered": 12, "question_known": 8, "question_replied": 16, "pair": 16, "pair_retold": 20,
    "pair_compared": 20, "pair_synonyms": 4, "pair_mentioned": 16, "table_restaurant": 3, "table_triples": 3,
    "table_dialogue": 3,
}
CURRICULA: dict[str, tuple[Stage, ...]] = {
    # word look-up in a stage of its own, where it needs a fifth of the text
    "mentions": (BASICS, {"pair_mentioned": 1}, VERDICTS),
    # words before verdicts, for models with absolute positions
    "lookups": (
        {"pair_recounted": 3, "pair_looked_up": 4, "pair_aligned": 3, "pair_synonyms": 1, "facts_kinds": 2},
        BASICS | {"facts_kinds": 20, "review": 40, "pair_looked_up": 25, "pair_listed": 50, "pair_mentioned": 8,
                  "pair_recounted": 10},
        VERDICTS | {"facts_kinds": 30, "review": 60, "pair_looked_up": 8, "pair_listed": 16, "pair_aligned": 4,
                    "pair_recounted": 4},
    ),
}
