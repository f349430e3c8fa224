"""Cloze probes: held-out text with one word masked, which a pre-trained model should predict.

class: the class of a noun. synonym: the other verb of the same meaning. agreement: "sing" or "sings", next to a noun of
the other number. polarity, negated_polarity: "loved" or "hated", after a judgement or its negation. yes_no: the answer
to a question about a statement, or about kinds and abilities.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from experiments.tasks.world.glue import inferred
from experiments.tasks.world.grammar import NP, Sentence, plural, say
from experiments.tasks.world.holdout import clauses, held_out
from experiments.tasks.world.reasoning import CONTRADICTION, ENTAILMENT
from experiments.tasks.world.speaker import SYNONYM, Speaker, attempt
from experiments.tasks.world.world import World

MASK = "<mask>"


@dataclass(frozen=True)
class Probe:
    """A text in which `MASK` stands for one word, which is `answer` of the `candidates`."""

    text: str
    answer: str
    candidates: tuple[str, ...]


def probes(world: World, count: int) -> dict[str, list[Probe]]:
    """Up to `count` probes of each kind, whose completed text is in no training document."""
    by_kind: dict[str, list[Probe]] = {}
    for kind, make in MAKERS.items():
        speaker, new = Speaker(world, world.dice(f"probe {kind}")), {}
        for _ in range(500 * count):
            probe = attempt(make, speaker)
            if probe is not None and any(map(held_out, clauses(probe.text.replace(MASK, probe.answer)))):
                new[probe.text] = probe
            if len(new) == count:
                break
        if not new:
            raise ValueError(f"the world has no held-out probe of {kind}: give more of world.entities or another "
                             f"world.seed ({world.seed})")
        by_kind[kind] = list(new.values())
    return by_kind


def masked(text: str, answer: str, candidates: list[str]) -> Probe:
    """The text with the last occurrence of the answer masked."""
    words = text.split()
    place = len(words) - 1 - words[::-1].index(answer)
    return Probe(" ".join([*words[:place], MASK, *words[place + 1:]]), answer, tuple(candidates))


def class_membership(speaker: Speaker) -> Probe:
    """"a robin is a <mask> ." among all classes."""
    noun = speaker.draw("nouns")
    kind = speaker.world.class_of[noun]
    form = speaker.dice.choice(("a", "every", "kind", "plural"))
    named = plural if form == "plural" else str
    return masked(say(Sentence("isa", form, {"lower": noun, "upper": kind})), named(kind),
                  [named(other) for other in sorted(speaker.world.members)])


def synonym(speaker: Speaker) -> Probe:
    """"the robin chased a bee . in other words , the robin <mask> a bee ." among all verbs but the original."""
    event = speaker.event(place=0.5, plain=True)
    verb = speaker.change("verb", event.slots["verb"], SYNONYM)
    original = event.slots["verb"].past
    candidates = [word.past for group in speaker.world.synonyms["verbs"] for word in group if word.past != original]
    again = say(event.in_form("passive" if event.form == "active" else "active", verb=verb))
    return masked(f"{say(event)} in other words , {again}", verb.past, candidates)


def agreement(speaker: Speaker) -> Probe:
    """"the robin near two dogs <mask> ." sings or sing."""
    sentence = speaker.statement("habit")
    one, many = NP(speaker.noun(), "the"), NP(speaker.noun(), speaker.dice.choice(("some", "two", "five")))
    subject, near = (one, many) if speaker.dice.chance(0.5) else (many, one)
    sentence = sentence.in_form("present", agent=replace(subject, near=near))
    deed = sentence.slots["deed"]
    answer = deed.base if subject.plural else deed.third
    return masked(say(sentence), answer, [deed.third, deed.base])


def _polarity(negated: bool) -> Callable[[Speaker], Probe]:
    def make(speaker: Speaker) -> Probe:
        good = speaker.dice.chance(0.5)
        answer, other = speaker.dice.choice((("loved", "hated"), ("enjoyed", "regretted")))
        if not good:
            answer, other = other, answer
        return masked(f"{say(speaker.opinion(good, negated=negated))} we {answer} it .", answer, [answer, other])
    return make


def yes_no(speaker: Speaker) -> Probe | None:
    """A statement, a question and its answer, yes or no; or a question about kinds or abilities alone."""
    if speaker.dice.chance(0.5):
        fact, yes = speaker.fact(speaker.dice.choice(("isa", "can"))), speaker.dice.chance(0.5)
        statement = fact if yes else speaker.untruth(fact)
        answer, other = ("yes", "no") if yes else ("no", "yes")
        question = say(statement.in_form(speaker.form(statement.family, question=True)))
        return masked(f"{question} {answer} , {say(fact)}", answer, [answer, other])
    premise = speaker.statement(speaker.dice.choice(("event", "deed", "quality", "lives", "owns")),
                                negated=speaker.dice.chance(0.3), plain=True)
    yes = speaker.dice.chance(0.5)
    hypothesis = inferred(speaker, premise, ENTAILMENT if yes else CONTRADICTION, negate=True)
    if hypothesis is None:
        return None
    answer, other = ("yes", "no") if yes != hypothesis.negated else ("no", "yes")
    question = say(hypothesis.in_form(speaker.form(hypothesis.family, question=True)))
    return masked(f"{say(premise)} {question} {answer} .", answer, [answer, other])


MAKERS: dict[str, Callable[[Speaker], Probe | None]] = {
    "class": class_membership, "synonym": synonym, "agreement": agreement, "polarity": _polarity(False),
    "negated_polarity": _polarity(True), "yes_no": yes_no,
}
