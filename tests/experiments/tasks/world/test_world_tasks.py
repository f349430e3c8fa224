"""The miniature tasks: labels and references say what the texts mean, words alone do not tell it, and bad settings are
named."""

import itertools
import json
import re
from typing import Any

import pytest
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from experiments.runs.identity import identity
from experiments.tasks.data import HubSource
from experiments.tasks.world import words
from experiments.tasks.world.corpus import documents
from experiments.tasks.world.source import WorldSource
from experiments.tasks.world.surface import bag_of_words, overlap
from tests.conftest import ROOT
from tests.experiments.made import compose
from tests.experiments.tasks.world import oracle
from tests.experiments.tasks.world.made import CLASSED, TASKS, TOLD, WORLD, all_rows, rows, splits, task, texts, told

RESTAURANT = r"(?P<name>\w+) "
TELLINGS = [re.compile(pattern + r" \.") for pattern in (
    rf"{RESTAURANT}serves (?P<food>\w+) food", rf"{RESTAURANT}is an? (?P<type>{'|'.join(words.VENUES.split())})",
    rf"{RESTAURANT}is in the (?P<area>\w+)", rf"{RESTAURANT}is (?P<price>{'|'.join(words.PRICES.split())})",
    rf"{RESTAURANT}has an? (?P<rating>\w+) rating", rf"{RESTAURANT}is near (?P<near>\w+)",
    r"families are (?P<families>(?:not )?welcome) at (?P<name>\w+)",
    rf"{RESTAURANT}is an? (?P<price>\w+) (?P<food>\w+) (?P<type>\w+)",
    rf"{RESTAURANT}is an? (?P<food>\w+) (?P<type>\w+) in the (?P<area>\w+)",
    rf"{RESTAURANT}is an? (?P<type>\w+) near (?P<near>\w+) with an? (?P<rating>\w+) rating",
    r"in the (?P<area>\w+) you find (?P<name>\w+) , an? (?P<price>\w+) (?P<type>\w+)",
)]


def triples(text: str) -> list[tuple[str, str, str]]:
    """(subject, relation, value) for all that a text tells of restaurants, people and things, sorted."""
    found = []
    for sentence in re.findall(r"\S[^.]*\.", text):
        matches = [match for pattern in TELLINGS if (match := pattern.fullmatch(sentence))]
        if matches and matches[0]["name"] in words.RESTAURANTS.split():
            told = matches[0].groupdict()
            found += [(told["name"], key, value) for key, value in told.items() if key != "name"]
        else:
            claim = oracle.read(sentence)
            subject, value, relation = oracle.RELATIONS[claim.family]
            (who,), (what,) = claim.box[subject], claim.box[value]
            found.append((str(who), relation, str(what)))
    return sorted(found)


LABELS = {  # is the label of a row right?
    "sst2": lambda row: oracle.good(row["sentence"]) == (row["label"] == 1),
    "mrpc": lambda row: oracle.same(*map(oracle.read, (row["sentence1"], row["sentence2"]))) == (row["label"] == 1),
    "stsb": lambda row: len(oracle.agreeing(row["sentence1"], row["sentence2"])) == row["label"],
    "qqp": lambda row: oracle.same(*map(oracle.read, (row["question1"], row["question2"]))) == (row["label"] == 1),
    "mnli": lambda row: oracle.verdict(*(oracle.reports(row[column]) for column in ("premise", "hypothesis")))
    == ("entailment", "neutral", "contradiction")[row["label"]],
    "qnli": lambda row: oracle.answers(row["question"], row["sentence"]) == (row["label"] == 0),
    "rte": lambda row: (oracle.verdict(row["sentence1"], row["sentence2"]) == "entailment") == (row["label"] == 0),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_are_what_the_sentences_mean(name: str) -> None:
    assert not [(split, row) for _, split, row in all_rows(name) if not LABELS[name](row)]


def test_a_question_is_never_answered_by_a_sentence_that_is_said_not_to() -> None:
    rare = WorldSource(name="qnli", world=WORLD, rows={"train": 4000}).load("train").columns
    asked = zip(rare["question"], rare["sentence"], rare["label"], strict=True)
    assert not [(question, said) for question, said, label in asked if oracle.answers(question, said) != (label == 0)]


@pytest.mark.parametrize("name", ["webnlg", "dart"])
def test_references_tell_exactly_the_triples(name: str) -> None:
    for _, _, row in all_rows(name):
        data = row["tripleset"] if name == "dart" else [
            triple.split(" | ") for triple in row["modified_triple_sets"]["mtriple_set"][0]]
        given = sorted((subject, relation.lower(), value.replace("unwelcome", "not welcome"))
                       for subject, relation, value in data)
        for reference in row["annotations" if name == "dart" else "lex"]["text"]:
            assert triples(reference) == given


def test_tables_of_the_corpus_hold_what_their_texts_tell() -> None:
    found = [document.segments for document in itertools.islice(documents(WORLD, "mentions", 1, False, 2), 12_000)
             if document.kind == "table" and "?" not in document.segments[0]]
    assert len(found) > 300
    for table, text in found:
        name, _, rest = table.rpartition(" : ")
        cells = [f"{name} {cell}".split() for cell in rest.removesuffix(" .").split(" ; ")]
        given = sorted((*cell[:2], " ".join(cell[2:]).replace("unwelcome", "not welcome")) for cell in cells)
        assert triples(text) == given, table


def test_e2e_references_tell_exactly_the_attributes() -> None:
    keys = {"eatType": "type", "priceRange": "price", "customer rating": "rating", "familyFriendly": "families"}
    for _, _, row in all_rows("e2e"):
        data = dict(re.findall(r"(\w[^\[]*)\[(\w+)\]", row["meaning_representation"]))
        name = data.pop("name")
        value = {"yes": "welcome", "no": "not welcome"}
        given = sorted((name, keys.get(key, key), value.get(said, said)) for key, said in data.items())
        assert triples(row["human_reference"]) == given


def test_wikisql_queries_ask_what_the_questions_ask() -> None:
    counted = re.compile(r"how many people (live in|work as an?|own an?|are) (\w+)(?: years old)? \?")
    columns = {"live": "hometown", "work": "job", "own": "owns", "are": "age"}
    for _, _, row in all_rows("wikisql"):
        query, asked = row["sql"]["human_readable"], row["question"]
        header, cells, sql = row["table"]["header"], row["table"]["rows"], row["sql"]
        assert sorted(header) == ["age", "hometown", "job", "name", "owns"]
        if match := counted.fullmatch(asked):
            expected = f"SELECT COUNT name FROM table WHERE {columns[match[1].split()[0]]} = {match[2]}"
        else:
            claim = oracle.read(asked)
            _, slot, column = oracle.RELATIONS[claim.family]
            (known,) = claim.box["person" if claim.asked == slot else slot]
            wanted = (column, "name") if claim.asked == slot else ("name", column)
            expected = f"SELECT {wanted[0]} FROM table WHERE {wanted[1]} = {known}"
        assert query == expected
        where = sql["conds"]
        (column,), (value,) = where["column_index"], where["condition"]
        told = f"SELECT {'COUNT ' if sql['agg'] == 3 else ''}{header[sql['sel']]} FROM table WHERE {header[column]} ="
        assert (f"{told} {value}", where["operator_index"]) == (query, [0])
        assert any(cell[column] == value for cell in cells)
        assert all(len(cell) == len(header) for cell in cells)


def test_samsum_summaries_tell_exactly_what_was_said() -> None:
    third = {"live": "lives", "work": "works", "am": "is", "own": "owns"}
    asks = {"where do you live": "lives", "what do you do": "works", "how old": "age", "what do you own": "owns",
            "who did you": "event"}
    for _, _, row in all_rows("samsum"):
        turns = [turn.split(" : ") for turn in row["dialogue"].split("\n")]
        assert all(one[0] != other[0] for one, other in zip(turns[::2], turns[1::2], strict=True))
        said = [(name, text.split()[1], text.split()[2:]) for name, text in turns if text.startswith("i ")]
        claims = [oracle.read(" ".join([name, third.get(verb, verb), *rest])) for name, verb, rest in said]
        assert [family for question in turns[::2] for start, family in asks.items() if question[1].startswith(start)] \
            == [claim.family for claim in claims]
        assert all(map(oracle.same, claims, map(oracle.read, re.findall(r"\S[^.]* \.", row["summary"]))))
        assert row["summary"].count(".") == len(claims)


def test_four_questions_of_a_talk_are_formulas_and_all_others_are_held_out_with_their_answers() -> None:
    asked = {question for _, _, row in all_rows("samsum")
             for question in re.findall(r"^\w+ : (.* \?)$", row["dialogue"], re.MULTILINE)}
    assert {question for question in asked if " did you " not in question} == {
        "how old are you ?", "where do you live ?", "what do you do for a living ?", "what do you own ?"}
    said = told("samsum", {"dialogue": "leo : where do you live ?\nadam : i live in rome .", "summary": "a ."})
    assert said == ["i live in rome .", "a ."]
    said = told("samsum", {"dialogue": "leo : who did you chase ?\nadam : i chased a bee .", "summary": "a ."})
    assert said == ["who did you chase ?", "i chased a bee .", "a ."]


def test_webnlg_tests_on_categories_that_training_lacks() -> None:
    seen = {row["category"] for row in rows("webnlg", "train")}
    few = task("webnlg", "source.rows={train: 300, development: 9, validation: 9, test: 200}")
    tests = {part: set(few.split(f"test_{part}")["category"]) for part in ("seen", "unseen")}
    assert tests["seen"] == seen == {row["category"] for row in rows("webnlg", "validation")}
    assert tests["unseen"]
    assert not tests["unseen"] & seen


@pytest.mark.parametrize("name", TASKS)
def test_rows_are_short_and_different_and_classes_balanced(name: str) -> None:
    for split in splits(name):
        shown = [json.dumps({key: row[key] for key in row if key not in ("idx", "eid", "id")})
                 for row in rows(name, split)]
        assert len(set(shown)) == len(shown)
        assert all(len(text.split()) <= 64 for row in rows(name, split) for text in texts(row))
        assert name in TOLD or all(len(" ".join(texts(row)).split()) <= 64 for row in rows(name, split))
        if name in CLASSED:
            labels = [row["label"] for row in rows(name, split)]
            shares = [labels.count(label) / len(labels) for label in set(labels)]
            assert len(shares) == {"mnli": 3, "stsb": 6}.get(name, 2)
            assert all(abs(share - 1 / len(shares)) < 0.1 for share in shares)


@pytest.mark.parametrize("name", CLASSED)
def test_words_alone_do_not_solve_a_task(name: str) -> None:
    few = task(name, *(f"source.rows.{split}=200" for split in splits(name)[1:]))
    most = {"cola": 25, "stsb": 25, "mnli": 60}.get(name, 72)
    assert bag_of_words(few)[few.main_metric] < most
    for column in few.text if len(few.text) == 2 else ():  # one text of two tells less
        assert bag_of_words(few, [column])[few.main_metric] < most - 5


@pytest.mark.parametrize("name", [name for name in CLASSED if name not in ("cola", "sst2")])
def test_that_words_recur_in_the_other_text_does_not_solve_a_task(name: str) -> None:
    few = task(name, *(f"source.rows.{split}=300" for split in splits(name)[1:]))
    assert overlap(few)[few.main_metric] < {"stsb": 45, "mrpc": 75, "mnli": 68}.get(name, 62)


@pytest.mark.parametrize("name", ["e2e", "wikisql"])
def test_closed_lists_have_words_for_as_many_rows_as_conf_asks(name: str) -> None:
    made = task(name)
    for split in splits(name)[1:]:
        assert len(made.split(split)) == made.source.rows[split]


@pytest.mark.parametrize(("key", "value", "allowed"), [
    ("entities", 79, "80..160"), ("entities", 161, "80..160"), ("classes", 21, "12..20"), ("classes", 11, "12..20"),
    ("people", 23, "24..32"), ("people", 33, "24..32"),
])
def test_a_world_that_makes_a_task_impossible_is_named(key: str, value: int, allowed: str) -> None:
    message = re.escape(f"ValueError('world.{key} {value} is not a whole number in {allowed}")
    with pytest.raises(InstantiationException, match=message):
        task("rte", f"source.world.{key}={value}")


def test_the_smallest_world_has_words_for_as_many_rows_as_the_most_demanding_task_asks() -> None:
    smallest = task("webnlg", *(f"source.world.{key}={value}"
                                for key, value in {"classes": 12, "entities": 48, "people": 24}.items()))
    assert len(smallest.source.load("test")) == smallest.source.rows["test"]


def test_a_world_that_runs_out_of_words_says_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.tasks.world.source.PATIENCE", 50)
    few = task("rte", "source.world.seed=7", "source.rows.train=10000", "source.world.people=24")
    monkeypatch.setattr("experiments.tasks.world.source.Speaker.may_say", lambda speaker, text: False)
    with pytest.raises(ValueError, match=r"too few words for 10000 rows of rte .*: 0 differ; .*seed=7.*people=24"):
        few.source.load("train")


@pytest.mark.parametrize(("override", "message"), [
    ("source.name=mnly", "mnly.* is not one of .*rte.*did you mean .*mnli"),
    ("source.rows.train=0", r"rows\.train 0 is not a whole number from 1"),
    ("source.rows.validation=-3", r"rows\.validation -3 is not a whole number from 1"),
    ("source.rows.train=1.5", r"rows\.train 1\.5 is not a whole number from 1"),
    ("source.rows.train=ten", r"rows\.train '?ten'? is not a whole number from 1"),
    ("source.world.entities=100.5", r"world\.entities 100\.5 "),
    ("evaluate_on=test", "test.* is not one of (development, validation|validation, development)"),
])
def test_a_setting_that_cannot_be_is_named_before_anything_is_drawn(override: str, message: str) -> None:
    with pytest.raises(InstantiationException, match=f"ValueError.*{message}"):
        task("rte", override)


def test_a_split_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="'trian' is not one of development, train, validation; did you mean 'train'"):
        task("rte").split("trian")


@pytest.mark.parametrize("name", TASKS)
def test_no_text_is_both_in_the_development_rows_and_in_those_that_tables_report(name: str) -> None:
    source, said = task(name).source, {}
    for split in set(source.rows) - {"train"}:
        columns = source.load(split).columns
        found = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
        said[split] = {text for row in found  # a line of a talk ("i am 40 years old .") may be anyone's
                       for text in ([row["summary"]] if name == "samsum" else told(name, row))}
    development = said.pop("development")
    reported = set().union(*said.values())
    assert len(development) > 20
    assert len(reported) > 20
    assert not development.intersection(reported)


def test_development_rows_are_the_sources_own_and_training_rows_stay() -> None:
    few = task("rte", "source.rows={train: 100, development: 20, validation: 20}", "evaluate_on=development")
    data = few.load()
    assert list(data.evaluation) == ["development"]
    assert data.evaluation["development"].columns == few.split("development").columns
    assert data.train.columns == few.split("train").columns
    assert (len(data.train), len(data.evaluation["development"])) == (100, 20)


def test_a_run_is_another_in_another_world_only() -> None:
    cfg = compose("task=rte-nano", "model=roberta-base")

    def run(**changes: Any) -> str:
        few = {f"task.source.rows.{split}": 9 for split in splits("rte")}
        for key, value in (few | changes).items():
            OmegaConf.update(cfg, key, value)
        return identity(cfg)

    first = run()
    assert run(**{"store": "elsewhere", "trainer.threads": 2}) == first
    worlds = {run(**{f"task.source.world.{key}": value})
              for key, value in {"seed": 2, "entities": 120, "people": 30}.items()}
    assert len(worlds | {first, run(**{"task.source.rows.train": 10})}) == 5


def test_a_hub_task_is_identified_by_its_file_alone() -> None:
    cfg: Any = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "task" / "mrpc.yaml"))
    stated = {key: value for key, value in cfg.items() if key[0] != "_"}
    stated["source"] = {key: value for key, value in cfg["source"].items() if key[0] != "_"}
    assert instantiate(cfg).identity() == stated
    assert HubSource(name="a/b", config="c", revision="d").identity(["train"]) == {
        "name": "a/b", "config": "c", "revision": "d"}
