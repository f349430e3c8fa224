"""From a row of each generation data set to a prompt and its references; real sets and miniatures share these.

The prompts are those of the authors' released data: `key : value | key : value` for E2E, triples as
`subject : property : object | ...` for WebNLG and DART. The paper prints none for WikiSQL (schema and query) and
SAMSum (the dialogue). Words and the marks `:` and `|` are all that a prompt adds to a row's own text.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from experiments.tasks.data import TextTable
from lora.errors import check_choice

Pair = tuple[str, list[str]]  # a prompt and its references
E2E_KEYS = {"eatType": "Type", "priceRange": "price", "familyFriendly": "family friendly"}  # the others as they are
E2E_SLOT = re.compile(r"([^\[\],]+)\[([^\]]*)\]")


@dataclass(frozen=True)
class Schema:
    """Columns of a data set, and what makes a pair of a row's values in them."""

    columns: tuple[str, ...]
    read: Callable[..., Pair]


def e2e(meaning_representation: str, human_reference: str) -> Pair:
    """`name[Cocum], eatType[pub]` as `name : Cocum | Type : pub`; punctuation stands apart, as the authors have it."""
    slots = [(key.strip(), value) for key, value in E2E_SLOT.findall(meaning_representation)]
    if not slots:
        raise ValueError(f"{meaning_representation!r} has no attribute[value]")
    prompt = _joined((E2E_KEYS.get(key, key), _apart(value)) for key, value in slots)
    return prompt, [_apart(human_reference)]


def web_nlg(modified_triple_sets: dict[str, Any], lex: Any) -> Pair:
    """Triples are `subject | property | object`; references those whose comment is `good`, as the authors take them."""
    triples = [triple.split(" | ") for triple in modified_triple_sets["mtriple_set"][0]]
    references = zip(_column(lex, "text"), _column(lex, "comment"), strict=True)
    return _triples(triples), [text for text, comment in references if comment == "good"]


def dart(tripleset: list[list[str]], annotations: Any) -> Pair:
    """Triples of three texts, properties in lower case, as the authors write them."""
    triples = [(subject, relation.lower(), value) for subject, relation, value in tripleset]
    return _triples(triples), _column(annotations, "text")


def wiki_sql(question: str, table: dict[str, Any], sql: dict[str, Any]) -> Pair:
    """`column | column : question`, and the query in words."""
    return _joined([(" | ".join(table["header"]), question)]), [sql["human_readable"]]


def sam_sum(dialogue: str, summary: str) -> Pair:
    """The dialogue, one turn a line, and its summary."""
    return "\n".join(dialogue.splitlines()), [summary]


SCHEMAS = {
    "e2e": Schema(("meaning_representation", "human_reference"), e2e),
    "webnlg": Schema(("modified_triple_sets", "lex"), web_nlg),
    "dart": Schema(("tripleset", "annotations"), dart),
    "wikisql": Schema(("question", "table", "sql"), wiki_sql),
    "samsum": Schema(("dialogue", "summary"), sam_sum),
}


def read_pairs(schema: str, table: TextTable) -> list[Pair]:
    """Prompt and references of each row; ValueError names a column that is not there, or a row without the schema."""
    check_choice("task.schema", schema, SCHEMAS)
    names, read = SCHEMAS[schema].columns, SCHEMAS[schema].read
    pairs = []
    for row, values in enumerate(zip(*(table[name] for name in names), strict=True)):
        try:
            prompt, references = read(*values)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{table.source}, row {row}: not of the schema {schema} ({', '.join(names)}): "
                             f"{type(error).__name__}: {error}") from error
        for text in (prompt, *references):
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"{table.source}, row {row}: {text!r} is no text for a prompt or a reference")
        pairs.append((prompt, references))
    return pairs


def _joined(pairs: Iterable[tuple[str, str]]) -> str:
    return " | ".join(f"{key} : {value}" for key, value in pairs)


def _triples(triples: Iterable[Iterable[str]]) -> str:
    """`subject : property : object | ...`; ValueError for a triple that has not three parts."""
    words = []
    for subject, relation, value in triples:
        words.append(f"{subject} : {relation} : {value}")
    return " | ".join(words)


def _column(items: Any, name: str) -> list[Any]:
    """One field of a list of structs, which parquet files hold as such or as a struct of lists."""
    return list(items[name]) if isinstance(items, dict) else [item[name] for item in items]


def _apart(text: str) -> str:
    """Words and punctuation marks, single spaces between."""
    return " ".join(re.findall(r"\w+|[^\w\s]", text))
