"""What sentences of the micro-world mean, read with regular expressions from the text and the word lists alone.

A claim is a box: for each place (number and noun of the doer, the deed, ...) the set of things that fit there. "the
robin chased a bee" says that something of the box happened, and its denial that nothing of it did; so one claim
follows from another if its box holds the other's, and the reverse for denials.
"""

import re
from dataclasses import dataclass
from functools import cache

from experiments.tasks.world import words

NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine")
COUNTED = {"some": tuple(range(2, 10))} | {word: (i,) for i, word in enumerate(NUMBERS, 2)}
CLASSES = {kind: tuple(nouns.split()) for kinds in words.TAXONOMY.values() for kind, nouns in kinds.items()}
LEAVES = {noun: (noun,) for nouns in CLASSES.values() for noun in nouns}
GENERA = {genus: tuple(" ".join(kinds.values()).split()) for genus, kinds in words.TAXONOMY.items()}
MEMBERS = LEAVES | CLASSES | GENERA
ABILITY = {noun: pair.split()[1] for pair in words.ABILITIES.split(",") for noun in CLASSES[pair.split()[0]]}
NAMES = set(" ".join(words.NAMES.values()).split())
TOWNS = {country: set(towns.split()) for country, towns in words.COUNTRIES.items()}
PLACES = {word: i for i, pair in enumerate(words.PLACES.split(",")) for word in pair.split()}
SCALES = [side.split() for scale in words.QUALITIES.split(",") for side in scale.split("/")]  # opposites side by side
QUALITY = {word: i for i, side in enumerate(SCALES) for word in side}
PRAISE, BLAME = set(words.PRAISE.split()), set(words.BLAME.split())
ASPECTS = set(words.ASPECTS.split())


def _forms(text: str) -> dict[str, dict[str, int]]:
    """base, third and past form of each verb -> its line, that is its meaning."""
    lines = [[verb.split() for verb in line.split("=")] for line in text.split("\n")]
    return {form: {verb[k]: i for i, line in enumerate(lines) for verb in line}
            for k, form in enumerate(("base", "third", "past"))}


VERBS, DEEDS = _forms(words.VERBS), _forms(words.DEEDS)


def plural(noun: str) -> str:
    """More than one of it."""
    if noun in words.IRREGULAR_PLURALS:
        return words.IRREGULAR_PLURALS[noun]
    return re.sub(r"(?<=[^aeiou])ys$", "ies", f"{noun}es" if re.search(r"(s|x|ch|sh)$", noun) else f"{noun}s")


SINGULARS = {plural(noun): noun for noun in MEMBERS}


def _any(options: object) -> str:
    return "|".join(sorted(options, key=len, reverse=True))  # type: ignore[call-overload]


OPEN_CLASS = {  # of which the parts of a task share none
    *LEAVES, *map(plural, LEAVES), *NAMES, *PLACES, *QUALITY, *PRAISE, *BLAME, *ASPECTS, *set().union(*TOWNS.values()),
    *(form for table in (VERBS, DEEDS) for forms in table.values() for form in forms),
    *f"{words.JOBS} {words.COLOURS} {words.MATERIALS} {words.RESTAURANTS}".split(),
}
NOUN = _any({*MEMBERS, *SINGULARS})
PHRASE = rf"(?:(?:the|an?|some|{'|'.join(NUMBERS)}) (?:(?:{_any(QUALITY)}) )?(?:{NOUN})|{_any(NAMES)})"
AT = rf"(?: at the (?P<place>{_any(PLACES)}))?"
KINDS = {  # what the places of the sentences below hold
    "A": rf"(?P<agent>{PHRASE})", "B": rf"(?P<patient>{PHRASE})", "T": rf"(?P<thing>{PHRASE})", " AT": AT,
    "VED": rf"(?P<verb>{_any(VERBS['past'])})", "VE": rf"(?P<verb>{_any(VERBS['base'])})",
    "DED": rf"(?P<deed>{_any(DEEDS['past'])})", "DE": rf"(?P<deed>{_any(DEEDS['base'])})",
    "DES": rf"(?P<deed>{_any({**DEEDS['base'], **DEEDS['third']})})",
    "Q": rf"(?P<quality>{_any(QUALITY)})", "C": rf"(?P<colour>{_any(words.COLOURS.split())})",
    "M": rf"(?P<material>{_any(words.MATERIALS.split())})", "P": rf"(?P<person>{_any(NAMES)})",
    "L": rf"(?P<town>{_any([*TOWNS, *set().union(*TOWNS.values())])})", "J": rf"(?P<job>{_any(words.JOBS.split())})",
    "N": r"(?P<age>\d\d)", "O": rf"(?P<owned>{_any(MEMBERS)})", "BE": "(?:is|are)", "WAS": "(?:was|were)",
}
SENTENCES = """
event: A VED B AT . / B WAS VED by A AT .
event not: A did not VE B AT . / B WAS not VED by A AT . / A never VED B AT .
event ask: did A VE B AT ? / WAS B VED by A AT ?
event ask agent: who VED B AT ? / by whom WAS B VED AT ?
event ask patient: who did A VE AT ? / who WAS VED by A AT ?
event ask place: where did A VE B ? / where WAS B VED by A ?
deed: A DED AT .
deed not: A did not DE AT . / A never DED AT .
deed ask: did A DE AT ?
habit: A DES .
habit not: A (?:does|do) not DE .
habit ask: (?:does|do) A DE ?
quality: T BE Q . / T (?:seems|seem) Q .
quality not: T BE not Q .
quality ask: BE T Q ?
colour: T BE C . / the colour of T is C .
colour ask colour: what colour BE T ? / what is the colour of T ?
material: T BE made of M . / the material of T is M .
material ask material: what BE T made of ? / what is the material of T ?
lives: P lives in L . / the hometown of P is L .
lives not: P does not live in L .
lives ask: does P live in L ?
lives ask town: where does P live ? / what is the hometown of P ?
lives ask person: who lives in L ?
works: P works as an? J . / P is an? J . / the job of P is J .
works not: P is not an? J .
works ask job: what does P do for a living ? / what is the job of P ?
works ask person: who works as an? J ?
age: P is N years old . / the age of P is N .
age ask age: how old is P ? / what is the age of P ?
owns: P owns an? O . / an? O belongs to P .
owns not: P does not own an? O .
owns ask: does P own an? O ?
owns ask owned: what does P own ? / what belongs to P ?
owns ask person: who owns an? O ? / who does an? O belong to ?
"""


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r" AT|\b[A-Z]+\b", lambda match: KINDS[match[0]], f"{template[:-1]}[{template[-1]}]"))


PATTERNS = [(head.split(), _pattern(template)) for head, templates in re.findall(r"(.+?): (.+)", SENTENCES)
            for template in templates.split(" / ")]
RELATIONS = {  # family -> where its subject and its value are, and what tables call it
    "lives": ("person", "town", "hometown"), "works": ("person", "job", "job"), "age": ("person", "age", "age"),
    "colour": ("thing", "colour", "colour"), "material": ("thing", "material", "material"),
    "owns": ("person", "owned", "owns"),
}
VALUE = {"quality": "quality"} | {family: value for family, (_, value, _) in RELATIONS.items() if family != "owns"}
EVERYWHERE = frozenset(PLACES.values())
Box = dict[str, frozenset[object]]


@dataclass(frozen=True)
class Claim:
    """A statement or a question; `asked` is the place that the question is for."""

    family: str
    box: Box
    negated: bool
    question: bool
    asked: str | None
    said: frozenset[str]  # which places the text names


@cache
def read(text: str) -> Claim:
    """The one meaning of a sentence; ValueError for none or more."""
    found = [(head, match) for head, pattern in PATTERNS if (match := pattern.fullmatch(text))]
    if len(found) != 1:
        raise ValueError(f"{len(found)} readings of {text!r}")
    (family, *rest), match = found[0]
    slots = {slot: value for slot, value in match.groupdict().items() if value is not None}
    asked = rest[1] if len(rest) > 1 else None
    box = {key: value for slot, said in slots.items() for key, value in _meaning(slot, said).items()}
    if family in ("event", "deed") and asked != "place":
        box.setdefault("place", EVERYWHERE)
    return Claim(family, box, rest == ["not"], rest[:1] == ["ask"], asked, frozenset(slots))


def _meaning(slot: str, said: str) -> Box:
    """What fits in a place of which this is said."""
    if slot in ("agent", "patient", "thing"):
        return phrase(slot, said)
    values: dict[str, object] = {
        "verb": (VERBS["base"] | VERBS["past"]).get(said), "place": PLACES.get(said), "quality": QUALITY.get(said),
        "deed": (DEEDS["base"] | DEEDS["past"] | DEEDS["third"]).get(said),
    }
    if slot == "town":
        return {slot: frozenset(TOWNS.get(said, {said}))}
    return {slot: frozenset(MEMBERS[said]) if slot == "owned" else frozenset({values.get(slot, said)})}


def phrase(slot: str, said: str) -> Box:
    """Number, quality and noun of a noun phrase."""
    *before, noun = said.split()
    numbers = COUNTED.get(before[0], (1,)) if before else (1,)
    qualities = [QUALITY[word] for word in before[1:]] or range(len(SCALES))
    leaves = (noun,) if noun in NAMES else MEMBERS[SINGULARS.get(noun, noun)]
    return {f"{slot} number": frozenset(numbers), f"{slot} quality": frozenset(qualities), slot: frozenset(leaves)}


def inside(one: Claim, other: Claim) -> bool:
    """Whether whatever fits the first claim fits the second."""
    return one.family == other.family and all(one.box[key] <= values for key, values in other.box.items())


def same(one: Claim, other: Claim) -> bool:
    """Whether two claims or questions are about the same (and ask for the same)."""
    kind = [(claim.asked, claim.negated, claim.question) for claim in (one, other)]
    return kind[0] == kind[1] and one.box.keys() == other.box.keys() and inside(one, other) and inside(other, one)


def excluded(one: Claim, other: Claim) -> bool:
    """Whether both tell of one thing two values that it cannot both have."""
    value = VALUE.get(one.family)
    if value is None or one.family != other.family:
        return False
    if any(one.box[key] != other.box[key] for key in one.box if key != value):
        return False
    if value != "quality":
        return not one.box[value] & other.box[value]
    return {side ^ 1 for side in one.box[value] if isinstance(side, int)} == other.box[value]  # the opposite in SCALES


def verdict(premise: str, hypothesis: str) -> str:
    """entailment, neutral or contradiction."""
    one, other = read(premise), read(hypothesis)
    follows = inside(other, one) if one.negated else inside(one, other)
    against = not one.negated and excluded(one, other)
    if not follows and not against:
        return "neutral"
    return "entailment" if (one.negated == other.negated) == follows else "contradiction"


def answers(question: str, sentence: str) -> bool:
    """Whether a sentence tells what a question asks for."""
    asks, tells = read(question), read(sentence)
    return not tells.negated and asks.asked in tells.said and inside(tells, asks)


def agreeing(one: str, other: str) -> list[str]:
    """Which of five things two events have in common: by a synonym, or one by a kind of what the other has."""
    boxes = read(one).box, read(other).box
    slots = {"doer": "agent", "look": "agent quality", "deed": "verb", "target": "patient", "place": "place"}
    return [word for word, slot in slots.items()
            if boxes[0][slot] <= boxes[1][slot] or boxes[1][slot] <= boxes[0][slot]]


def speaks_of(event: str, word: str) -> bool:
    """Whether all that an event can be about is of the kind, the deed or the place that a word names."""
    box = read(event).box
    if word in VERBS["past"]:
        return box["verb"] == {VERBS["past"][word]}
    if word in PLACES:
        return box["place"] == {PLACES[word]}
    kind = {word} if word in NAMES else set(MEMBERS[word])
    return box["agent"] <= kind or box["patient"] <= kind


def means(word: str, other: str) -> bool:
    """Whether a word is of the other's meaning, or names a kind of it."""
    if other in VERBS["past"]:
        return VERBS["past"].get(word) == VERBS["past"][other]
    if other in PLACES:
        return PLACES.get(word) == PLACES[other]
    return word == other if other in NAMES else word in MEMBERS and set(MEMBERS[word]) <= set(MEMBERS[other])


def tells(event: str, aspect: str, word: str) -> bool:
    """Whether an event has that word as its doer, look, deed, target or place."""
    box = read(event).box
    slot = {"doer": "agent", "look": "agent quality", "deed": "verb", "target": "patient", "place": "place"}[aspect]
    return box[slot] == _meaning(slot.split()[-1], word)[slot.split()[-1]] and word in event.split()


def reports(text: str) -> str:
    """What someone is said to say."""
    return re.sub(r"^(they say|the letter said|\w+ thinks) that ", "", text)


def good(opinion: str) -> bool:
    """Whether a text of judgements is good on the whole: "but" turns, and the last one decides."""
    signs = []
    for clause in re.split(r" , (?:and|but) ", opinion.removesuffix(" .")):
        said = set(clause.split())
        (sign,) = {word in PRAISE for word in said & (PRAISE | BLAME)}
        signs.append(sign != bool(said & {"not", "never", "nobody"}))
    turns = [turn == "but" for turn in re.findall(r" , (and|but) ", opinion)]
    assert all((one != other) == turn for one, other, turn in zip(signs, signs[1:], turns, strict=False)), opinion
    return signs[-1]


def is_a(lower: str, upper: str) -> bool:
    """Whether one word's things are all of the other's, which has more."""
    return set(MEMBERS[lower]) < set(MEMBERS[upper])


def facts(text: str) -> list[tuple[str, bool]]:
    """Each sentence or question of a text that tells of kinds and abilities, and whether it is true."""
    found = []
    for sentence in re.findall(r"\S[^.?]*[.?]", text):
        nouns = [SINGULARS.get(word, word) for word in sentence.split()
                 if word in {*MEMBERS, *SINGULARS}]
        denied = bool(re.search(r"\bnot\b|^no \w+ is", sentence))
        ability = re.search(rf"\b({_any(set(ABILITY.values()))}) [.?]$", sentence)
        if re.search(r"\bcan\b", sentence) and ability and len(nouns) == 1:
            found.append((sentence, all(ABILITY[leaf] == ability[1] for leaf in MEMBERS[nouns[0]]) != denied))
        elif len(nouns) == 2 and re.fullmatch(KIND, sentence):
            found.append((sentence, is_a(*nouns) != denied))
        elif len(nouns) == 4 and re.fullmatch(rf"(?:{NOUN}) , (?:{NOUN}) and (?:{NOUN}) are (?:{NOUN}) \.", sentence):
            found.append((sentence, all(is_a(noun, nouns[3]) for noun in nouns[:3])))
    return found


KIND = rf"(?:(?:yes|no) , )?(?:(?:an?|every|the|no|is|are|is an?) )?(?:{NOUN}) " \
       rf"(?:(?:is|are)(?: not)? )?(?:an? |a kind of )?(?:{NOUN}) [.?]"
