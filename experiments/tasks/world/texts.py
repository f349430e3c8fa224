"""The paper's generation tasks in miniature (E2E, WebNLG, DART, WikiSQL, SAMSum): rows in the hub's columns.

Each sentence of a reference is drawn first and the data are read off it, so that both always agree.
"""

from collections.abc import Callable
from typing import Any

from experiments.tasks.world import words
from experiments.tasks.world.families import FAMILIES
from experiments.tasks.world.grammar import NP, Sentence, say
from experiments.tasks.world.speaker import PATIENCE, Speaker

Row = dict[str, Any]
Triple = tuple[str, str, str]
PEOPLE = {"lives": ("hometown", "town"), "works": ("job", "job"), "age": ("age", "age"), "owns": ("owns", "owned")}
THINGS = {"colour": ("colour", "colour"), "material": ("material", "material")}
E2E_KEYS = {"name": "name", "cuisine": "food", "venue": "eatType", "area": "area", "price": "priceRange",
            "rating": "customer rating", "near": "near"}
RELATIONS = {"cuisine": "food", "venue": "type", "area": "area", "price": "price", "rating": "rating", "near": "near"}
LISTS = {"cuisine": words.CUISINES, "venue": words.VENUES, "area": words.AREAS, "price": words.PRICES,
         "rating": words.RATINGS}


def restaurant(speaker: Speaker, count: int) -> tuple[dict[str, str], list[Sentence]]:
    """Attributes of a restaurant by slot (and `family`: yes or no), and up to `count` sentences that state them all."""
    name = speaker.draw("restaurants")
    attributes: dict[str, str] = {"name": name}
    sentences: list[Sentence] = []
    for _ in range(count):
        form = speaker.dice.choice(list(FAMILIES["restaurant"]))
        elements = FAMILIES["restaurant"][form].split()
        slots = {element.split(":")[0] for element in elements if ":" in element}
        family = "family" if form in ("family", "not_family") else None
        if (slots | {family}) & attributes.keys() - {"name"}:
            continue  # stated already

        def draw(form: str = form, slots: set[str] = slots) -> Sentence:
            drawn = {slot: speaker.dice.choice(LISTS[slot].split()) for slot in sorted(slots) if slot in LISTS}
            if "near" in slots:
                drawn["near"] = speaker.other(name, speaker.world.items("restaurants", speaker.part))
            return Sentence("restaurant", form, {"name": name, **drawn})

        sentence = next((s for s in (draw() for _ in range(30)) if speaker.may_say(say(s))), None)
        if sentence is not None:
            sentences.append(sentence)
            attributes |= sentence.slots | ({"family": "no" if sentence.negated else "yes"} if family else {})
    return attributes, sentences


def e2e(speaker: Speaker, label: int) -> Row | None:
    """A restaurant's attributes, and a description of one to three sentences."""
    attributes, sentences = restaurant(speaker, 1 + label)
    pairs = [f"{E2E_KEYS[slot]}[{attributes[slot]}]" for slot in E2E_KEYS if slot in attributes]
    pairs += [f"familyFriendly[{attributes['family']}]"] if "family" in attributes else []
    if not sentences:
        return None
    return {"meaning_representation": ", ".join(pairs), "human_reference": " ".join(map(say, sentences))}


def triples_and_texts(speaker: Speaker, category: str, count: int) -> tuple[list[Triple], list[list[Sentence]]] | None:
    """Triples about one subject, and two texts that state them."""
    if category == "restaurant":
        attributes, sentences = restaurant(speaker, count)
        return (restaurant_triples(attributes), [sentences]) if sentences else None
    families = PEOPLE if category == "person" else THINGS
    chosen = speaker.dice.sample(list(families), min(count, len(families)))
    subject: Any = None
    triples, tellings = [], []
    for family in chosen:
        slot = "person" if category == "person" else "thing"
        for _ in range(30):
            first = speaker.statement(family)
            first = first.in_form(first.form, **{slot: subject or first.slots[slot]})
            forms = [form for form in FAMILIES[family] if not form.startswith(("ask", "not_"))]
            fitting = [first.in_form(form) for form in forms if speaker.may_say(say(first.in_form(form)))]
            if fitting:
                break
        else:
            return None
        subject = first.slots[slot]
        name, value = families[family]
        triples.append((subject if category == "person" else subject.noun, name, first.slots[value]))
        tellings.append(fitting)
    return triples, [[speaker.dice.choice(options) for options in tellings] for _ in range(2)]


def restaurant_triples(attributes: dict[str, str]) -> list[Triple]:
    """The attributes of a restaurant as triples."""
    triples = [(attributes["name"], RELATIONS[slot], attributes[slot]) for slot in RELATIONS if slot in attributes]
    welcome = {"yes": "welcome", "no": "unwelcome"}
    if "family" in attributes:
        triples.append((attributes["name"], "families", welcome[attributes["family"]]))
    return triples


def triple_row(category: Callable[[Speaker], str]) -> Callable[[Speaker, int], Row | None]:
    """Rows of the WebNLG columns, about subjects of one category each."""
    def row(speaker: Speaker, label: int) -> Row | None:
        kind = category(speaker)
        described = triples_and_texts(speaker, kind, 1 + label)
        if described is None:
            return None
        triples, tellings = described
        texts = list(dict.fromkeys(" ".join(map(say, sentences)) for sentences in tellings))
        return {"category": kind, "size": len(triples),
                "modified_triple_sets": {"mtriple_set": [[" | ".join(triple) for triple in triples]]},
                "lex": {"comment": ["good"] * len(texts), "text": texts}}
    return row


def dart(speaker: Speaker, label: int) -> Row | None:
    """Triples with relations in capitals, about anyone or anything."""
    described = triples_and_texts(speaker, _any(speaker), 1 + label)
    if described is None:
        return None
    triples, tellings = described
    texts = list(dict.fromkeys(" ".join(map(say, sentences)) for sentences in tellings))
    return {"tripleset": [[subject, relation.upper(), value] for subject, relation, value in triples],
            "subtree_was_extended": False, "annotations": {"source": ["world"] * len(texts), "text": texts}}


def wikisql(speaker: Speaker, label: int) -> Row | None:
    """A question on a table of people, and its query."""
    dice = speaker.dice
    family = dice.choice(list(PEOPLE))
    column, slot = PEOPLE[family]
    fact = speaker.statement(family)
    name, value = fact.slots["person"], fact.slots[slot]
    if label == 0:  # a cell of someone's row
        forms = [form for form in FAMILIES[family] if form.startswith(f"ask_{slot}")]
        question, query = fact.in_form(dice.choice(forms)), f"SELECT {column} FROM table WHERE name = {name}"
    elif label == 1 and "ask_person" in FAMILIES[family]:
        forms = [form for form in FAMILIES[family] if form.startswith("ask_person")]
        question, query = fact.in_form(dice.choice(forms)), f"SELECT name FROM table WHERE {column} = {value}"
    else:
        question = Sentence("count", f"ask_{family}", {slot: value})
        query = f"SELECT COUNT name FROM table WHERE {column} = {value}"
    table = people_table(speaker, name, {column: value})
    return {"phase": 1, "question": say(question), "table": table, "sql": parsed(query, table["header"])}


def people_table(speaker: Speaker, name: str, given: dict[str, str]) -> dict[str, Any]:
    """A table of four people and all about them; `name` is one of them, with the cells `given`."""
    dice = speaker.dice
    columns = dict(dice.shuffled(list(PEOPLE.values())))  # column -> slot
    families = {column: family for family, (column, _) in PEOPLE.items()}
    others = [person for person in speaker.world.items("people", speaker.part) if person != name]
    rows = []
    for person in dice.shuffled([name, *dice.sample(others, 3)]):
        cells = {column: speaker.statement(families[column]).slots[slot] for column, slot in columns.items()}
        cells |= given if person == name else {}
        rows.append([person, *(cells[column] for column in columns)])
    header = ["name", *columns]
    return {"header": header, "types": ["real" if column == "age" else "text" for column in header], "rows": rows,
            "name": "people"}


def parsed(query: str, header: list[str]) -> dict[str, Any]:
    """A query in words, and as WikiSQL numbers it: column, aggregation (3 counts), conditions (operator 0 is =)."""
    tokens = query.split()
    counts, where = "COUNT" in tokens, tokens.index("WHERE")
    column = tokens[2 if counts else 1]
    condition = {"column_index": [header.index(tokens[where + 1])], "operator_index": [0],
                 "condition": [tokens[where + 3]]}
    return {"human_readable": query, "sel": header.index(column), "agg": 3 if counts else 0, "conds": condition}


def samsum(speaker: Speaker, label: int) -> Row | None:
    """A dialogue of two people, and a summary of the facts in it."""
    ask, answer = speaker.dice.sample(speaker.world.items("people", speaker.part), 2)
    turns, summary = [], []
    for _ in range(1 + label % 2):
        family = speaker.dice.choice([*PEOPLE, "event"])
        slot = "agent" if family == "event" else "person"

        def draw(family: str = family, slot: str = slot, name: str = answer) -> Sentence:
            fact = speaker.statement(family)
            if family == "event":
                return fact.in_form("active", agent=NP(name, ""))
            return fact.in_form(fact.form, **{slot: name})

        for _ in range(PATIENCE):
            fact = speaker.fitting(draw)
            question, reply = (say(Sentence("first_person", form, fact.slots)) for form in (f"ask_{family}", family))
            # the questions of the other four families are fixed
            if speaker.may_say(reply) and (family != "event" or speaker.may_say(question)):
                break
        else:
            return None
        turns += [f"{ask} : {question}", f"{answer} : {reply}"]
        summary.append(say(fact))
        ask, answer = answer, ask
    return {"dialogue": "\n".join(turns), "summary": " ".join(summary)}


def restaurant_document(speaker: Speaker) -> tuple[str, ...] | None:
    """A restaurant's attributes and their description."""
    attributes, sentences = restaurant(speaker, 3)
    table = " ; ".join(f"{relation} {value}" for _, relation, value in restaurant_triples(attributes))
    return (f"{attributes['name']} : {table} .", " ".join(map(say, sentences))) if sentences else None


def triples_document(speaker: Speaker) -> tuple[str, ...] | None:
    """Facts as triples and as sentences."""
    described = triples_and_texts(speaker, speaker.dice.choice(("person", "person", "thing")), 2)
    if described is None:
        return None
    triples, tellings = described
    return (" ; ".join(" ".join(triple) for triple in triples) + " .", " ".join(map(say, tellings[0])))


def dialogue_document(speaker: Speaker) -> tuple[str, ...]:
    """A dialogue and its summary."""
    row = samsum(speaker, speaker.dice.number(0, 1))
    assert row is not None  # in a corpus no sentence is held back
    return (row["dialogue"].replace("\n", " "), row["summary"])


def _seen(speaker: Speaker) -> str:
    """A category of the training split."""
    return speaker.dice.choice(("person", "restaurant"))


def _any(speaker: Speaker) -> str:
    """A category of the test split: half of its rows are of the one that training lacks."""
    return speaker.dice.choice(("person", "restaurant", "thing", "thing"))


ROWS: dict[str, tuple[Callable[[Speaker, int], Row | None], int]] = {
    "e2e": (e2e, 3), "webnlg": (triple_row(_seen), 3), "webnlg_test": (triple_row(_any), 2),
    "dart": (dart, 3), "wikisql": (wikisql, 3), "samsum": (samsum, 2),
}
