"""Prefixes through experiments.train: the trainer, the tasks and the losses know nothing of them."""

import pytest

from experiments.train import run
from tests.experiments.tiny import compose

D, LAYERS, UPDATES = 32, 2, 2 * 2 * 8 * (32 + 32)  # of the tiny BERT; LoRA of rank 8 on q and v
SIZES = {"prefix_embed": ["method.l_p=4", "method.l_i=2"], "prefix_layer": ["method.l_p=4", "method.l_i=2"],
         **{f"lora+{word}": [f"method.parts.{word}.l_p=4", f"method.parts.{word}.l_i=2"]
            for word in ("prefix_embed", "prefix_layer")}}
COUNTS = {"prefix_embed": D * 6, "prefix_layer": LAYERS * D * 6, "lora+prefix_embed": UPDATES + D * 6,
          "lora+prefix_layer": UPDATES + LAYERS * D * 6}


def overrides(tiny_run: list[str], word: str) -> list[str]:
    return [line for line in tiny_run if not line.startswith("method.")] + [f"method={word}", *SIZES[word]]


@pytest.mark.parametrize("word", SIZES)
def test_a_run_trains_and_scores(tiny_run: list[str], word: str) -> None:
    record = run(compose(*overrides(tiny_run, word), "trainer.max_length=64", "trainer.epochs=3"))
    assert record.trainable == COUNTS[word]
    assert record.history[-1]["loss"] < record.history[0]["loss"]
    assert record.merge_error == {}  # evaluated unmerged


def test_inputs_that_leave_no_positions_for_a_prefix_are_refused_with_what_is_left(
    tiny_run: list[str]
) -> None:
    with pytest.raises(ValueError, match="128 and the 6 positions of prefix_embed are above the model's 128: 122 are"):
        run(compose(*overrides(tiny_run, "prefix_embed"), "trainer.max_length=128"))
    run(compose(*overrides(tiny_run, "prefix_embed"), "trainer.max_length=122", "trainer.epochs=1"))
