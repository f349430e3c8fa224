"""Text for a language model: the corpus of a world, its sequences and batches, masking, and the loss.

A batch is a function of (seed, step, stage) alone: each pool of `POOL` batches has a stream of documents of its own,
and each step a generator for its masks. A resumed run therefore sees the batches that it would have seen.

Shapes: ids and targets (rows, length), hidden (rows, length, width), logits (targets that count, vocabulary).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from experiments.training.batches import POOL, epoch_batches, evaluation_batches

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from experiments.tasks.world.corpus import Document
    from experiments.tasks.world.probes import Probe

IGNORED = -100  # a target that does not count, as in transformers
HIDDEN, REPLACED = 0.8, 0.1  # of the chosen words (BERT, section 3.1); the rest is left as it is
HELD_OUT_SEED = 1_000_003


@dataclass(frozen=True)
class CorpusSource:
    """The corpus and the probes of a world, as pre-training takes them."""

    vocabulary: Sequence[str]
    function_words: frozenset[str]
    answers: frozenset[str]  # words that follow from the rest of their document
    documents: Callable[[int, bool, int], Iterator[Document]]  # (seed, held_out, stage) -> endless stream
    probes: Callable[[int], Mapping[str, Sequence[Probe]]]  # number of each kind -> probes by kind
    stages: int  # of the corpus, one after the other; the last has documents of all kinds


@dataclass(frozen=True)
class Batch:
    """Padded inputs and the target at each place; `mask` is None for causal models, which see earlier places only."""

    ids: Tensor
    targets: Tensor
    mask: Tensor | None
    tokens: int  # without padding


class Language:
    """Sequences and batches of a corpus for one architecture."""

    def __init__(self, source: CorpusSource, tokenizer: PreTrainedTokenizerBase, masking: Mapping[str, float],
                 max_length: int) -> None:
        self.source, self.tokenizer, self.max_length = source, tokenizer, max_length
        self.causal = tokenizer.mask_token is None
        self.pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self.rates = masking_rates(tokenizer, source.function_words, source.answers, masking)
        self.words = torch.tensor(sorted(set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids)))

    def sequences(self, documents: Sequence[Document], seed: int) -> list[list[int]]:
        """Ids of each document, in one of two forms drawn from `seed`.

        For encoders two segments are a pair or one text. For causal models an end-of-text follows each segment; in
        half of the documents one also precedes the first, so that the model learns texts with and without it.
        """
        first_form = (torch.rand(len(documents), generator=_generator(seed)) < 0.5).tolist()
        if self.causal:
            end = [self.tokenizer.eos_token_id]
            segments = iter(self._encode([text for document in documents for text in document.segments], plain=True))
            sequences = [end * form + [i for _ in document.segments for i in next(segments) + end]
                    for document, form in zip(documents, first_form, strict=True)]
            return [ids[:self.max_length] for ids in sequences]
        texts: list[Any] = [
            tuple(document.segments) if form and len(document.segments) == 2 else " ".join(document.segments)
            for document, form in zip(documents, first_form, strict=True)
        ]
        sequences = [[]] * len(texts)
        for kind in (str, tuple):
            places = [i for i, text in enumerate(texts) if isinstance(text, kind)]
            for place, ids in zip(places, self._encode([texts[i] for i in places]), strict=True):
                sequences[place] = ids
        return sequences

    def batch(self, rows: Sequence[list[int]], seed: int) -> Batch:
        """One batch, padded on the right; masks are drawn from `seed`."""
        lengths = torch.tensor([len(row) for row in rows])
        length = int(lengths.max())
        ids = torch.tensor([row + [self.pad] * (length - len(row)) for row in rows])
        real = torch.arange(length) < lengths[:, None]  # (rows, length)
        tokens = int(lengths.sum())
        if self.causal:
            following = torch.where(real, ids, IGNORED)[:, 1:]
            return Batch(ids, functional.pad(following, (0, 1), value=IGNORED), None, tokens)
        assert self.tokenizer.mask_token_id is not None
        inputs, targets = masked(ids, self.rates, self.tokenizer.mask_token_id, self.words, _generator(seed))
        return Batch(inputs, targets, real.long(), tokens)

    def held_out(self, count: int, batch_size: int) -> list[Batch]:
        """The first `count` held-out documents, with the same masks each time."""
        endless = self.source.documents(HELD_OUT_SEED, True, self.source.stages - 1)
        documents = list(itertools.islice(endless, count))
        rows = self.sequences(documents, HELD_OUT_SEED)
        batches = evaluation_batches([len(row) for row in rows], batch_size)
        return [self.batch([rows[i] for i in batch], HELD_OUT_SEED + n) for n, batch in enumerate(batches)]

    def _encode(self, texts: list[Any], plain: bool = False) -> list[list[int]]:
        if not texts:
            return []
        encoded = self.tokenizer(texts, truncation=True, max_length=self.max_length, add_special_tokens=not plain,
                                 return_attention_mask=False, return_token_type_ids=False)
        return encoded["input_ids"]  # type: ignore[return-value]


class Stream:
    """The training batches of a seed, by step; cheapest when steps come in order."""

    def __init__(self, language: Language, batch_size: int, seed: int) -> None:
        self.language, self.batch_size, self.seed = language, batch_size, seed
        self.key, self.pool = (-1, -1), [[[0]]]  # (number, stage) of the pool, its batches

    def batch(self, step: int, stage: int) -> Batch:
        """The batch of a step, from 0, in a stage of the corpus, from 0."""
        number, place = divmod(step, POOL)
        if self.key != (number, stage):
            self.key, self.pool = (number, stage), self._make_pool(number, stage)
        return self.language.batch(self.pool[place], self.seed * 1_000_000_007 + step)

    def _make_pool(self, number: int, stage: int) -> list[list[list[int]]]:
        """POOL batches of sequences of similar length, in random order."""
        seed = self.seed * 1_000_000 + number
        endless = self.language.source.documents(seed, False, stage)
        rows = self.language.sequences(list(itertools.islice(endless, self.batch_size * POOL)), seed)
        batches = epoch_batches([len(row) for row in rows], self.batch_size, self.seed, number, bucket=True)
        return [[rows[i] for i in batch] for batch in batches]


def masking_rates(tokenizer: PreTrainedTokenizerBase, function_words: frozenset[str], answers: frozenset[str],
                  masking: Mapping[str, float]) -> Tensor:
    """Masking probability of each id, (vocabulary size,): by kind of word, 0 for special tokens."""
    rates = torch.zeros(len(tokenizer))
    for word, i in tokenizer.get_vocab().items():
        if i not in tokenizer.all_special_ids:
            grammatical = word in function_words or not any(map(str.isalnum, word))
            rates[i] = masking["answer" if word in answers else "function" if grammatical else "content"]
    return rates


def masked(
    ids: Tensor, rates: Tensor, mask_id: int, words: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Inputs with tokens chosen by the rate of their id masked or replaced, and the chosen tokens as targets."""
    chosen = torch.rand(ids.shape, generator=generator) < rates[ids]
    fate = torch.rand(ids.shape, generator=generator)
    others = words[torch.randint(len(words), ids.shape, generator=generator)]
    inputs = torch.where(chosen & (fate < HIDDEN), mask_id, ids)
    inputs = torch.where(chosen & (fate >= 1 - REPLACED), others, inputs)
    return inputs, torch.where(chosen, ids, IGNORED)


def loss_sum(model: PreTrainedModel, batch: Batch) -> tuple[Tensor, int]:
    """Cross entropy summed over the targets that count, and their number; the head runs on these places only."""
    hidden = model.base_model(input_ids=batch.ids, attention_mask=batch.mask)[0]
    counted = batch.targets != IGNORED
    targets = batch.targets[counted]
    return functional.cross_entropy(head(model)(hidden[counted]).float(), targets, reduction="sum"), len(targets)


def head(model: PreTrainedModel) -> torch.nn.Module:
    """The module that maps hidden states to logits over the vocabulary."""
    return model.get_submodule("cls" if hasattr(model, "cls") else "lm_head")  # DeBERTa has "cls"


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
