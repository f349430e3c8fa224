"""A tokenizer that is not whole, or not the model's, is named before training."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoModel, PreTrainedTokenizerFast

from experiments.models.load import load_tokenizer
from experiments.models.record import SMALL_FILES
from experiments.models.tokens import check_tokens
from tests.experiments.models.made import model_config
from tests.experiments.models.tiny_classifiers import tiny_config

WORDS = ["[PAD]", "[UNK]", "a", "good", "film"]


def tokenizer(folder: Path, **special: str) -> PreTrainedTokenizerFast:
    """One of five words, as it is read from its folder."""
    words = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", **special).save_pretrained(folder)
    return load_tokenizer(model_config("local", path=str(folder)))


@pytest.mark.parametrize(("kind", "lacks"), [
    ("bert", "it lacks vocab.txt"), ("roberta", "it lacks vocab.json and merges.txt"),
    ("gpt2", "it lacks vocab.json and merges.txt"), ("deberta-v2", r"it lacks spm\.model"),
    ("modernbert", "has no tokenizer that can be read")])
def test_a_folder_without_its_tokenizer_is_named(kind: str, lacks: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(ValueError, match=lacks) as error:
        load_tokenizer(model_config("local", path=str(tmp_path)))
    assert str(tmp_path) in str(error.value)


def test_a_tokenizer_that_lost_its_merges_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "roberta"}')
    (tmp_path / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(WORDS)}))
    with pytest.raises(ValueError, match=rf"^{tmp_path} has no tokenizer that can be read .*`vocab` and `merges`"):
        load_tokenizer(model_config("local", path=str(tmp_path)))


def test_a_tokenizer_that_needs_no_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "canine"}')
    assert load_tokenizer(model_config("local", path=str(tmp_path)))("a")["input_ids"][1] == ord("a")


def test_a_tokenizer_without_padding_and_end_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has neither a padding token nor an end token"):
        tokenizer(tmp_path)
    assert tokenizer(tmp_path, eos_token="film").pad_token_id == 4


@pytest.mark.parametrize(("special", "size", "texts", "message"), [
    ({"pad_token": "[more]"}, 5, ["a good film"], r"token 5 of the tokenizer \('\[more\]'\) is above the model's 5"),
    ({"pad_token": "[PAD]"}, 4, ["a film"], r"token 4 of the tokenizer \('film'\) is above the model's 4 embeddings"),
    ({"pad_token": "[PAD]"}, 8, ["x y z x y z x y z film"], r"does not know 9 of the rows' 10 tokens \(\[UNK\]\)"),
    ({"pad_token": "[PAD]"}, 8, ["", "[PAD]"], "finds no word in the rows"),
    ({"pad_token": "[PAD]"}, 5, ["x y z x y z x y a film"], None),
    ({"pad_token": "[PAD]"}, 4, ["a good"], None),
    ({"eos_token": "[UNK]"}, 5, ["x x x x x x x x x x x film"], None),  # as in GPT-2, where the two are one token
])
def test_tokens_are_the_models(special: dict[str, str], size: int, texts: list[str], message: str | None,
                               tmp_path: Path) -> None:
    config = tiny_config("bert")
    config.vocab_size = size
    config.pad_token_id = 0
    read = tokenizer(tmp_path, **special)
    rows = [{"input_ids": ids} for ids in read(texts)["input_ids"]]
    if message is None:
        check_tokens(read, AutoModel.from_config(config), rows)
        return
    with pytest.raises(ValueError, match=message):
        check_tokens(read, AutoModel.from_config(config), rows)


def test_the_files_of_every_tokenizer_of_transformers_are_in_the_identity_of_a_model() -> None:
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES, tokenizer_class_from_name

    names = {name for pair in TOKENIZER_MAPPING_NAMES.values() if pair
             for name in ((pair,) if isinstance(pair, str) else pair) if name}
    classes = [tokenizer_class_from_name(name) for name in sorted(names)]
    files = {file for kind in classes for file in (getattr(kind, "vocab_files_names", None) or {}).values()
             if isinstance(file, str)}
    assert len(files) > 15
    assert {file for file in files if not any(Path(file).match(pattern) for pattern in SMALL_FILES)} == set()
