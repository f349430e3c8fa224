"""A word-level tokenizer over a closed vocabulary, with the special tokens and pairs of RoBERTa, DeBERTa-v2 or GPT-2.

Text is lower-cased and split at white space; each punctuation mark is a token. Decoding joins tokens by single spaces,
so a text whose words and marks are separated by single spaces is restored exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora.errors import check_choice

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Specials:
    """The special tokens of an architecture, in the order of their ids from 0."""

    tokens: tuple[str, ...]
    roles: dict[str, str]  # role in transformers -> token
    single: str | None     # templates of one text and of a pair; None: no special tokens
    pair: str | None
    inputs: tuple[str, ...]


ARCHITECTURES = {
    "roberta": Specials(
        tokens=("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
        roles={"bos_token": "<s>", "cls_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "sep_token": "</s>",
               "unk_token": "<unk>", "mask_token": "<mask>"},
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>",
        inputs=("input_ids", "attention_mask")),
    "deberta-v2": Specials(
        tokens=("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"),
        roles={"bos_token": "[CLS]", "cls_token": "[CLS]", "pad_token": "[PAD]", "eos_token": "[SEP]",
               "sep_token": "[SEP]", "unk_token": "[UNK]", "mask_token": "[MASK]"},
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        inputs=("input_ids", "token_type_ids", "attention_mask")),
    # like GPT-2's: nothing is added to a text, and there is no padding token (experiments.models.load pads with
    # end-of-text)
    "gpt2": Specials(
        tokens=("<|endoftext|>", "<unk>"),
        roles={"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<unk>"},
        single=None, pair=None, inputs=("input_ids", "attention_mask")),
}


def build_tokenizer(vocabulary: Sequence[str], architecture: str, max_length: int) -> PreTrainedTokenizerFast:
    """The tokenizer of an architecture over `vocabulary`, special tokens first; inputs are of `max_length` at most.

    Raises ValueError for an unknown architecture, a word given twice, and a word that would not stay one token.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    check_choice("architecture", architecture, ARCHITECTURES)
    specials = ARCHITECTURES[architecture]
    words = [*specials.tokens, *vocabulary]
    if twice := sorted({word for word in words if words.count(word) > 1}):
        raise ValueError(f"the vocabulary has {', '.join(twice[:3])} twice")
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=specials.roles["unk_token"]))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("isolated")]
    )
    _add_template(core, specials)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=max_length, padding_side="right",
                                        clean_up_tokenization_spaces=False, model_input_names=list(specials.inputs),
                                        **specials.roles)
    cut = [word for word in vocabulary if tokenizer.tokenize(word) != [word]]
    if cut:
        raise ValueError(f"{', '.join(map(repr, cut[:3]))} of the vocabulary would not stay one token: words are lower "
                         "case, and a punctuation mark is a word of its own")
    return tokenizer


def rounded_size(words: int, multiple: int = 8) -> int:
    """Rows of the embedding for a vocabulary of so many words: the next multiple; rows above `words` are never used."""
    return -(-words // multiple) * multiple


def _add_template(core, specials: Specials) -> None:  # type: ignore[no-untyped-def]  # tokenizers.Tokenizer
    from tokenizers import processors

    if specials.single is not None:
        core.post_processor = processors.TemplateProcessing(
            single=specials.single, pair=specials.pair,
            special_tokens=[(token, i) for i, token in enumerate(specials.tokens)],
        )
