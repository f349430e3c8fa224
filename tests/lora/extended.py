"""The oracle for added positions: a plain model whose vocabulary has l_p + l_i tokens more, met in the text itself.

Section 5.1 calls the added positions "special tokens" with "trainable word embeddings": so a model with these words,
given rows written out with them, is what a prefix must equal. Rows are lists of numbers, written by hand.
"""

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from lora import PrefixEmbed, PrefixLayer
from tests.lora.tiny import CONFIGS, D, tiny

WORDS, PAD, SEPARATOR = 50, 0, 9
L_P, L_I = 3, 2
PREFIX, INFIX = [WORDS + i for i in range(L_P)], [WORDS + L_P + i for i in range(L_I)]
SENTENCES = [[5, 6, SEPARATOR, 8, 11], [12, SEPARATOR, 13], [4, 14, 15, 16, SEPARATOR, 17, 18]]
CAUSAL = ("gpt2", "llama")


def language_model(architecture: str = "gpt2", seed: int = 0) -> PreTrainedModel:
    """A random causal language model in eval mode, whose beginning of text is SEPARATOR."""
    torch.manual_seed(seed)
    config = type(tiny(architecture).config)(**CONFIGS[architecture], initializer_range=0.2, bos_token_id=SEPARATOR,
                                             eos_token_id=1)
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


def prefix(kind: type[PrefixEmbed] = PrefixEmbed, **changes: object) -> PrefixEmbed:
    fields = {"l_p": L_P, "l_i": L_I, "init": "words", "separator": None} | changes
    name = "prefix_layer" if kind is PrefixLayer else "prefix_embed"
    return kind(name=name, **fields)  # type: ignore[arg-type]


def extended(model: PreTrainedModel, vectors: Tensor) -> PreTrainedModel:
    """A copy of a plain `model` that has `vectors` (l_p + l_i, d) as the words from WORDS on."""
    made = copy.deepcopy(model)
    made.resize_token_embeddings(WORDS + len(vectors), mean_resizing=False)
    with torch.no_grad():
        made.get_input_embeddings().weight[WORDS:] = vectors
    if (head := made.get_output_embeddings()) is not None:  # the special tokens are in the input only
        head.register_forward_hook(lambda _, __, logits: logits.index_fill(-1, torch.arange(WORDS, logits.shape[-1]),
                                                                           -1e9))
    return made


def some_vectors() -> Tensor:
    return torch.randn(L_P + L_I, D, generator=torch.Generator().manual_seed(3))


@dataclass
class Batch:
    """Rows padded on one side, and where the tokens of each sentence are in them."""

    ids: Tensor
    mask: Tensor
    places: list[list[int]]

    def inputs(self) -> dict[str, Tensor]:
        return {"input_ids": self.ids, "attention_mask": self.mask}

    def of(self, hidden: Tensor) -> Tensor:
        """Every sentence's tokens of hidden (rows, length, ...), one after the other: (tokens, ...)."""
        return torch.cat([hidden[row, places] for row, places in enumerate(self.places)])


def batch(rows: list[list[int]], side: str, length: int) -> Batch:
    """`rows` of words, those from WORDS on left out of the places, padded to `length`."""
    ids, mask, places = [], [], []
    for row in rows:
        padding = length - len(row)
        before, after = (padding, 0) if side == "left" else (0, padding)
        ids.append([PAD] * before + row + [PAD] * after)
        mask.append([0] * before + [1] * len(row) + [0] * after)
        places.append([before + place for place, word in enumerate(row) if word < WORDS])
    return Batch(torch.tensor(ids), torch.tensor(mask), places)


def plain(side: str) -> Batch:
    """SENTENCES as a user gives them."""
    return batch(SENTENCES, side, 8)


def written_out(kind: str, side: str) -> Batch:
    """SENTENCES with the special tokens in them, where section 5.1 and lora.positions have them."""
    rows = []
    for words in SENTENCES:
        end = {"encoder": len(words), "classifier": len(words) - 1, "language model": words.index(SEPARATOR)
               if SEPARATOR in words else None}[kind]
        rows.append(PREFIX + words[:end] + INFIX + words[end:])
    return batch(rows, side, 8 + L_P + L_I)


def kind_of(architecture: str) -> str:
    return "classifier" if architecture in CAUSAL else "encoder"


def positions_as_generated(mask: Tensor) -> Tensor:
    """Position numbers as transformers' generate counts them: tokens from 0, padding left out."""
    return (mask.cumsum(-1) - 1).masked_fill(mask == 0, 0)


def by_layer(parameters: dict[str, nn.Parameter]) -> list[nn.Parameter]:
    """prefix_layer's vectors from the first block to the last."""
    entry = [p for name, p in parameters.items() if not any(part.isdigit() for part in name.split("."))]
    return entry + [p for name, p in sorted(parameters.items()) if any(part.isdigit() for part in name.split("."))]

DORA: dict[str, Any] = {"dora": True}
PISSA: dict[str, Any] = {"init": "pissa"}
BOTH, PLUS, STABLE = DORA | PISSA, {"learning_rate_scale_B": 16}, {"rank_stabilised": True}
NAMED = {"dora": DORA, "pissa": PISSA, "both": BOTH, "loraplus": PLUS, "rslora": STABLE}
NEW_FUNCTIONS = pytest.mark.parametrize("fields", [DORA, PISSA, BOTH], ids=["dora", "pissa", "both"])
every = pytest.mark.parametrize("fields", NAMED.values(), ids=NAMED)
but_pissa = pytest.mark.parametrize("fields", [DORA, PLUS, STABLE], ids=["dora", "loraplus", "rslora"])
GENERATE = dict(max_new_tokens=5, min_new_tokens=5, pad_token_id=PAD)
