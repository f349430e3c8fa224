"""The record beside a pre-trained model, and the gates that it has to pass."""

import re
from pathlib import Path

import pytest

from experiments.models.record import read_record
from experiments.pretraining.gates import Gate


@pytest.mark.parametrize(("text", "message"), [
    ("{}", "is not a record of a pre-training: lacks ['model', 'run', 'config'], has extra []"),
    ('{"colour": 1}', "has extra ['colour']"),
    ('{"model": ', "is not a record of a pre-training: Expecting value"),
    ("[1]", "is not a record of a pre-training: "),
    ('{"schema": 9, "new": 1}', "has schema 9, this code reads 1"),
])
def test_a_file_that_is_no_record_is_named_with_the_first_keys_that_differ(tmp_path: Path, text: str, message: str):
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read_record(tmp_path)
    assert str(tmp_path / "record.json") in str(caught.value)
    assert len(str(caught.value)) < len(str(tmp_path)) + 120


def test_what_was_not_measured_passes_no_gate_even_where_nothing_is_asked():
    assert not Gate("x", float("nan")).passed
    assert Gate("x", 0.0).passed
