"""The task made of installed packages: what it extracts, and what it refuses."""

import time

import pytest

from experiments.tasks.docstrings import first_sentence, public_docstrings
from tests.experiments.tasks.made import text_task


def seconds() -> float:
    """Of this process, to extract all rows."""
    start = time.process_time()
    assert len(text_task("docstrings").rows) == 400 * 5
    return time.process_time() - start


def test_docstrings_are_extracted_quickly_and_the_same_each_time():
    assert min(seconds() for _ in range(2)) < 4  # a neighbour on the core can only slow one down
    first = text_task("docstrings", "task.rows_per_package=50")
    data = first.load()
    table = {"train": data.train, **data.evaluation}
    assert len(data.train) + len(data.evaluation["validation"]) == 50 * 5
    assert 0.75 < len(data.train) / 250 < 0.95
    texts = [text for part in table.values() for text in part["text"]]
    assert len(set(texts)) == len(texts)
    assert not [text for text in texts if set(text.lower().split()) & set(first.packages)]
    assert text_task("docstrings", "task.rows_per_package=50").identity() == first.identity()


def test_only_public_docstrings_count():
    functions = b"def f():\n  'F.'\ndef _g():\n  'G.'\n"
    methods = b"class C:\n  'C.'\n  def m(self):\n    'M.'\n  def _n(self):\n    'N.'\n"
    assert list(public_docstrings(functions + methods)) == ["F.", "C.", "M."]
    assert list(public_docstrings(b"def {{ template }}")) == []


def test_the_first_sentence_ends_at_a_full_stop_or_a_blank_line():
    assert first_sentence("Make a\n    list, e.g.1. Then more.") == "Make a list, e.g.1."
    assert first_sentence("No stop\n\nNext paragraph.") == "No stop"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "task.packages=[scipi,torch]",
            r"package 'scipi' of task.packages is not installed; did you mean 'scipy'",
        ),
        (
            "task.rows_per_package=1000000",
            r"has \d+ different docstrings, fewer than task.rows_per_package=1000000",
        ),
        ("task.train_share=0.0", r"no rows with task.train_share=0.0"),
    ],
)
def test_docstrings_refuse_what_cannot_be_made(override, message):
    packages = (
        [] if "packages" in override else ["task.packages=[hydra,omegaconf]", "task.rows_per_package=20"]
    )
    with pytest.raises(ValueError, match=message):
        text_task("docstrings", *packages, override).load()
