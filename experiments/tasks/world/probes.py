"""Cloze probes: what a pre-trained model should know, asked on held-out text with one word left out.

class: what is a robin? synonym: the other verb for the same deed. agreement: sing or sings, near a noun of the other
number. polarity, negated_polarity: loved or hated, after a judgement or the denial of one. yes_no: does a statement
answer a question with yes or no?
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
    """`count` probes of each kind, whose text with the answer in it is in no training document."""
    found: dict[str, list[Probe]] = {}
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
        found[kind] = list(new.values())
    return found


def masked(text: str, answer: str, candidates: list[str]) -> Probe:
    """The text with the last occurrence of the answer left out."""
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
    """"the robin chased a bee . in other words , the robin <mask> a bee ." among all verbs but the one said."""
    event = speaker.event(place=0.5, plain=True)
    verb = speaker.change("verb", event.slots["verb"], SYNONYM)
    said = event.slots["verb"].past
    candidates = [word.past for group in speaker.world.synonyms["verbs"] for word in group if word.past != said]
    again = say(event.said("passive" if event.form == "active" else "active", verb=verb))
    return masked(f"{say(event)} in other words , {again}", verb.past, candidates)


def agreement(speaker: Speaker) -> Probe:
    """"the robin near two dogs <mask> ." sings or sing."""
    sentence = speaker.statement("habit")
    one, many = NP(speaker.noun(), "the"), NP(speaker.noun(), speaker.dice.choice(("some", "two", "five")))
    subject, near = (one, many) if speaker.dice.chance(0.5) else (many, one)
    sentence = sentence.said("present", agent=replace(subject, near=near))
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
    """A statement, a question, and yes or no; or a question about kinds or abilities alone."""
    if speaker.dice.chance(0.5):
        fact, yes = speaker.fact(speaker.dice.choice(("isa", "can"))), speaker.dice.chance(0.5)
        asked = fact if yes else speaker.untruth(fact)
        answer, other = ("yes", "no") if yes else ("no", "yes")
        said = say(asked.said(speaker.form(asked.family, question=True)))
        return masked(f"{said} {answer} , {say(fact)}", answer, [answer, other])
    premise = speaker.statement(speaker.dice.choice(("event", "deed", "quality", "lives", "owns")),
                                negated=speaker.dice.chance(0.3), plain=True)
    yes = speaker.dice.chance(0.5)
    hypothesis = inferred(speaker, premise, ENTAILMENT if yes else CONTRADICTION, negate=True)
    if hypothesis is None:
        return None
    answer, other = ("yes", "no") if yes != hypothesis.negated else ("no", "yes")
    question = say(hypothesis.said(speaker.form(hypothesis.family, question=True)))
    return masked(f"{say(premise)} {question} {answer} .", answer, [answer, other])


MAKERS: dict[str, Callable[[Speaker], Probe | None]] = {
    "class": class_membership, "synonym": synonym, "agreement": agreement, "polarity": _polarity(False),
    "negated_polarity": _polarity(True), "yes_no": yes_no,
}
