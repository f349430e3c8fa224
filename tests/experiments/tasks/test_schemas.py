"""Readers of the generation data sets: rows of the published schemas, by hand."""

import pytest

from experiments.tasks.data import TextTable
from experiments.tasks.schemas import SCHEMAS, read_pairs

LEX = {"comment": ["good", "toFix", "good"], "lid": ["1", "2", "3"], "text": ["One.", "Tow.", "Three."]}
TRIPLES = {"mtriple_set": [["Aarhus | leaderName | Jacob_Bundsgaard", "Aarhus | country | \"Denmark, EU\""]]}
WEBNLG = ("Aarhus : leaderName : Jacob_Bundsgaard | Aarhus : country : \"Denmark, EU\"", ["One.", "Three."])
DART = ("Mars Hill : joined : 1973 | [TABLECONTEXT] : [title] : Members", ["It joined in 1973.", "1973."])
DART_TRIPLES = [["Mars Hill", "JOINED", "1973"], ["[TABLECONTEXT]", "[TITLE]", "Members"]]


@pytest.mark.parametrize(
    ("schema", "row", "pair"),
    [
        ("e2e", {"meaning_representation": "name[Blue Spice], eatType[coffee shop], priceRange[£20-25], "
                 "customer rating[5 out of 5], familyFriendly[yes], near[Café Rouge, North]",
                 "human_reference": "Blue Spice  is a coffee shop, it's £20-25."},
         ("name : Blue Spice | Type : coffee shop | price : £ 20 - 25 | customer rating : 5 out of 5 | "
          "family friendly : yes | near : Café Rouge , North", ["Blue Spice is a coffee shop , it ' s £ 20 - 25 ."])),
        ("webnlg", {"modified_triple_sets": TRIPLES, "lex": LEX}, WEBNLG),
        ("webnlg", {"modified_triple_sets": TRIPLES,
                    "lex": [dict(zip(LEX, row, strict=True)) for row in zip(*LEX.values(), strict=True)]}, WEBNLG),
        ("dart", {"tripleset": DART_TRIPLES, "annotations": {"source": ["a", "b"], "text": DART[1]}}, DART),
        ("dart", {"tripleset": DART_TRIPLES, "annotations": [{"source": "a", "text": text} for text in DART[1]]}, DART),
        ("wikisql", {"question": "Who won in 1999?", "table": {"header": ["Year", "Winner"], "rows": [["1999", "Ann"]]},
                     "sql": {"human_readable": "SELECT Winner FROM table WHERE Year = 1999", "sel": 1, "agg": 0}},
         ("Year | Winner : Who won in 1999?", ["SELECT Winner FROM table WHERE Year = 1999"])),
        ("samsum", {"dialogue": "Ann: Hi!\r\nBob: Hello.", "summary": "They greet."},
         ("Ann: Hi!\nBob: Hello.", ["They greet."])),
    ],
)
def test_a_row_becomes_a_prompt_and_its_references(schema, row, pair):
    table = TextTable("made", {name: [value] for name, value in row.items()} | {"id": [7]})
    assert read_pairs(schema, table) == [pair]


def test_text_that_is_words_and_single_spaces_stays_as_it_is():
    text = "the Cocum pub serves 3 dishes , and is cheap ."
    assert SCHEMAS["e2e"].read("name[Cocum]", text) == ("name : Cocum", [text])


@pytest.mark.parametrize(
    ("schema", "columns", "message"),
    [
        ("e2e", {"meaning_representation": ["name[A]", "A"], "human_reference": ["A.", "A."]},
         r"made, row 1: not of the schema e2e \(meaning_representation, human_reference\): .*'A' has no attribute"),
        ("e2e", {"meaning_representation": ["name[A]"], "human_reference": [" "]}, r"row 0: '' is no text"),
        ("e2e", {"meaning_representation": ["name[A]"], "human_reference": [None]}, r"row 0: not of the schema e2e"),
        ("e2e", {"mr": ["name[A]"], "ref": ["A."]}, r"made: column 'meaning_representation' is not one of mr, ref"),
        ("webnlg", {"modified_triple_sets": [{"mtriple_set": [["a | b"]]}], "lex": [LEX]}, r"row 0: not of .* webnlg"),
        ("samsum", {"dialogue": ["A: a"], "summary": [None]}, r"row 0: None is no text"),
        ("wikisq", {}, r"task.schema 'wikisq' is not one of .*; did you mean 'wikisql'"),
    ],
)
def test_a_row_without_the_schema_is_named(schema, columns, message):
    with pytest.raises(ValueError, match=message):
        read_pairs(schema, TextTable("made", columns))
