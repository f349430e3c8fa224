"""Breaches of English agreement in sentences of the micro-world, found from the word lists alone."""

from itertools import pairwise

from tests.experiments.tasks.world.oracle import DEEDS, MEMBERS, NAMES, NUMBERS, QUALITY, SINGULARS, VERBS

ONE, MANY = {"is", "was", "does", "seems", *DEEDS["third"]}, {"are", "were", "do", "seem", *DEEDS["base"]}
BASE = set(VERBS["base"])


def number(tokens: list[str], i: int) -> tuple[bool, int] | None:
    """Whether the noun phrase that begins at place i is plural, by its first word, and the place after it."""
    if tokens[i] in NAMES:
        return False, i + 1
    if tokens[i] not in {"the", "a", "an", "some", *NUMBERS}:
        return None
    end = i + 1 + (tokens[i + 1] in QUALITY)
    if tokens[end] not in {*MEMBERS, *SINGULARS}:
        return None
    beside = number(tokens, end + 2) if tokens[end + 1] == "near" else None
    return tokens[i] not in {"the", "a", "an"}, beside[1] if beside else end + 1


def mistakes(sentence: str) -> list[str]:
    """Breaches of a few rules of English; a sentence without one may still be wrong."""
    tokens, found = [*sentence.split(), "", "", ""], []
    for i, (word, after) in enumerate(pairwise(tokens)):
        if word in ("a", "an") and (after[:1] in set("aeiou")) != (word == "an"):
            found.append(f"{word} {after}")
        noun = tokens[i + 1 + (after in QUALITY)] if after else ""
        if (word in {"a", "an", "every"} and noun in SINGULARS) or (word in {"some", *NUMBERS} and noun in MEMBERS):
            found.append(f"{word} {noun}")
    inverted = next((i for i in (0, 1, 2) if tokens[i] in ONE | MANY), 0)  # in a question
    subject = number(tokens, 0)
    verb = tokens[subject[1] if subject else inverted]
    if not subject and tokens[0] in {"where", "what", "by", verb}:
        subject = number(tokens, inverted + 1)
    if subject and verb in (ONE if subject[0] else MANY):
        found.append(f"{'several' if subject[0] else 'one'}: {verb}")
    if "did" in tokens and {*VERBS["past"], *DEEDS["past"]} & set(tokens):
        found.append("did with a past form")
    if "did" not in tokens and "you" not in tokens and BASE & set(tokens):
        found.append("a base form without did")
    return found
