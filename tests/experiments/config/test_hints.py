"""A misspelt key or choice of a run names the one that was meant."""

import pytest

from experiments.config.overrides import CommandLine
from experiments.store.paths import CONF


@pytest.mark.parametrize(("override", "message"), [
    ("learning_rate=1e-3", r"did you mean 'trainer\.learning_rate'\?"),
    ("model=bert-base-uncased", r"any other: model=local model\.path=bert-base-uncased$"),
])
def test_a_wrong_key_or_model_names_the_right_one(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CommandLine("train", CONF, [override]).checked()


def test_a_key_that_a_swept_method_lacks_asks_for_two_sweeps() -> None:
    message = (r"method=ft,bitfit has no key method\.rank: make two sweeps into one store, "
               r"with method=lora method\.rank=1,4 and with method=ft,bitfit$")
    with pytest.raises(ValueError, match=message):
        CommandLine("train", CONF, ["method=ft,lora,bitfit", "method.rank=1,4"]).checked()
    sweep = ["method=lora,dora", "method.rank=1,4", "model=roberta-nano,minilm"]
    assert CommandLine("train", CONF, sweep).checked() == sweep


def test_help_has_the_keys_that_a_model_takes_from_its_base() -> None:
    text = CommandLine("train", CONF, ["model=deberta-v2-xxlarge"]).help("experiments.train", "", [])
    assert "model.weights=pickle " in text
    assert text.count("model.weights=") == 1
    assert "model.init=pretrained " in text
