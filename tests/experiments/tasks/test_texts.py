"""Pairs of texts whose first one's end is seen, and rows that have a token."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from experiments.tasks.base import TextTask
from experiments.tasks.data import TextTable
from experiments.tasks.texts import encode_texts
from tests.experiments.tasks.made import END, WORDS, byte_level, text_task, word_level

BYTES, BY_WORD = byte_level(), word_level()
TEXT = st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)
PAIR = st.tuples(TEXT, TEXT).filter(any)


def templated() -> PreTrainedTokenizerFast:
    """A tokenizer that begins each of two texts with a token, as Llama's does."""
    tokenizer = word_level()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{END} $A", pair=f"{END} $A {END}:1 $B:1", special_tokens=[(END, 0)])
    return tokenizer


def rows(tokenizer: PreTrainedTokenizerFast, first: str, second: str, separator: str | None = END,
         length: int = 64) -> dict:
    return {name: values[0] for name, values in
            encode_texts(tokenizer, [[first], [second]], separator, length, "here").items()}


def task(separator: str = "null") -> TextTask:
    return text_task("mrpc", f"task.separator={separator}")


@pytest.mark.parametrize("tokenizer", [BYTES, BY_WORD], ids=["bytes", "words"])
def test_a_pair_without_a_visible_end_of_its_first_text_is_refused(tokenizer):
    table = TextTable("train.csv", {"sentence1": ["a pub .", "a pub"], "sentence2": ["is a venue", "is a venue"],
                                    "label": [0, 1]})
    message = (r"train.csv, row 1: the tokenizer puts nothing between two texts, .* 'a pub', cannot be seen: "
               r"""set task.separator, such as 'task.separator="<\|endoftext\|>"'""")
    with pytest.raises(ValueError, match=message):
        task().encode(table, tokenizer, 64)
    assert [row["labels"] for row in task(END).encode(table, tokenizer, 64)] == [0, 1]


def test_the_separator_of_the_message_is_one_that_hydra_reads():
    from tests.experiments.made import compose

    assert compose("task=mrpc", f'task.separator="{END}"').task.separator == END


@given(PAIR)
def test_a_separator_stands_once_between_two_texts(pair):
    first, second, end = (BY_WORD(text)["input_ids"] for text in (*pair, END))
    assert rows(BY_WORD, *pair)["input_ids"] == first + end + second


@given(st.lists(PAIR, min_size=2, max_size=4, unique=True))
def test_different_pairs_are_different_rows(pairs):
    encoded = [tuple(rows(BY_WORD, *pair)["input_ids"]) for pair in pairs]
    assert len(set(encoded)) == len(pairs)


@given(PAIR, st.integers(2, 12))
def test_the_separator_of_a_pair_that_is_cut_stays(pair, length):
    ids = rows(BY_WORD, *pair, length=length)["input_ids"]
    assert len(ids) <= length
    assert ids.count(BY_WORD.eos_token_id) == 1


def test_first_texts_of_one_sentence_need_no_separator():
    assert rows(BYTES, "a pub .", "is it a venue", None) == {"input_ids": BYTES("a pub .is it a venue")["input_ids"]}
    with pytest.raises(ValueError, match="cannot be seen"):  # which of the two full stops ends it?
        rows(BYTES, "a pub . a venue .", "is it", None)


def test_what_a_tokenizer_puts_between_two_texts_is_enough():
    wanted = templated()("a pub", "is a venue", return_attention_mask=False)
    assert rows(templated(), "a pub", "is a venue", None) == dict(wanted)


def test_a_separator_has_the_type_of_the_text_before_it():
    tokenizer = templated()
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    row = rows(tokenizer, "a", "pub", separator="|")
    assert tokenizer.convert_ids_to_tokens(row["input_ids"]) == [END, "a", END, "|", "pub"]
    assert row["token_type_ids"] == [0, 0, 1, 1, 1]


@pytest.mark.parametrize(("separator", "why"), [("###", "an unknown"), (" ", "no")])
def test_a_separator_without_a_token_of_its_own_is_refused(separator, why):
    with pytest.raises(ValueError, match=rf"task.separator '{separator}' has {why} token: take another, such as"):
        rows(BY_WORD, "a", "pub", separator)


@pytest.mark.parametrize(("name", "value"), [("sst2", "|"), ("mrpc", "")])
def test_a_separator_of_one_text_or_without_text_is_refused(name, value):
    with pytest.raises(Exception, match=r"task.separator '[|]?' must be null for one text, and some text for a pair"):
        text_task(name, f"task.separator={value!r}")


def test_a_pair_without_a_token_is_named():
    with pytest.raises(ValueError, match="here, row 0: '' and ' ' has no token"):
        rows(BY_WORD, "", " ")


@pytest.mark.parametrize("text", ["", " \n"])
def test_a_row_without_a_token_is_named(text):
    table = TextTable("train.csv", {"sentence": ["a pub", text], "label": [0, 1]})
    with pytest.raises(ValueError, match=r"train.csv, row 1: .* has no token: leave the row out"):
        text_task("sst2").encode(table, BY_WORD, 64)
