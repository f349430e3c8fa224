"""The closed vocabulary of the micro-world's corpus and tasks, and its function words and answers."""

import re
from collections.abc import Iterator

from experiments.tasks.world import words
from experiments.tasks.world.families import AGREEMENTS, COUNTS, FAMILIES, VERDICTS
from experiments.tasks.world.grammar import plural

CONTENT = """colour material hometown job owns age works lives live own belongs belong welcome families kind food rating
    serves never not"""
FORMULAS = """yes no perhaps that is true false open similar different relevant irrelevant same other doer look deed
    target place they say letter said thinks in words town but and so"""
FIELDS = """name type price area near family friendly food rating customer hometown job age owns colour material
    families unwelcome welcome select count from table where low average high top ="""
PUNCTUATION = (".", ",", "?", ":", ";", "|")


def vocabulary() -> list[str]:
    """All words and punctuation marks, lower case, each once, in order."""
    return sorted({*_lexicon(), *_literals(), *FORMULAS.split(), *FIELDS.split(), *PUNCTUATION})


def function_words() -> frozenset[str]:
    """Punctuation and grammatical words."""
    reports = {"that", "they", "say", "letter", "said", "and"}
    return frozenset({*_literals(), *reports, *PUNCTUATION} - set(CONTENT.split()))


def answers() -> frozenset[str]:
    """The words that follow from the rest of a document: answers, verdicts, conclusions, shared slots of events."""
    verdicts = {word for slot in ("feel", "stars", "advice") for phrase in VERDICTS[slot] for word in phrase.split()}
    decided = {"yes", "no", "perhaps", "true", "false", "open", "same", "other", "similar", "different", "relevant",
               "irrelevant"}
    return frozenset((decided | verdicts) - {"we", "will", "it", "stars", "star", "never"})


def _literals() -> Iterator[str]:
    """The words of the patterns themselves."""
    for forms in FAMILIES.values():
        for pattern in forms.values():
            yield from (element for element in pattern.split() if ":" not in element)
    yield from ("an", "some", *COUNTS, *AGREEMENTS, *AGREEMENTS.values())


def _lexicon() -> Iterator[str]:
    """The words of every list, nouns in both numbers, verbs in all forms."""
    nouns = [noun for kinds in words.TAXONOMY.values() for members in kinds.values() for noun in members.split()]
    nouns += [word for genus, kinds in words.TAXONOMY.items() for word in (genus, *kinds)]
    yield from (form for noun in nouns for form in (noun, plural(noun)))
    yield from (word for phrases in VERDICTS.values() for phrase in phrases for word in phrase.split())
    yield from (str(number) for number in range(20, 80))
    for line in words.VERBS.split("\n"):  # whose third person does not occur
        yield from (form for verb in line.split("=") for form in (verb.split()[0], verb.split()[2]))
    texts = [words.ABILITIES, *words.NAMES.values(), *words.COUNTRIES, *words.COUNTRIES.values(), words.JOBS,
             words.COLOURS, words.MATERIALS, words.PLACES, words.DEEDS, words.QUALITIES, words.ASPECTS,
             words.PRAISE, words.BLAME, words.DEGREES, words.RESTAURANTS, words.VENUES, words.CUISINES, words.AREAS,
             words.PRICES, words.RATINGS]
    for text in texts:
        yield from re.findall(r"\w+", text)
