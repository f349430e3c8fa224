"""Measures of a language model: loss on held-out text, and accuracy on cloze probes.

An encoder answers a probe with the candidate of the highest logit at the masked word, a causal model with the
candidate that makes the whole sentence most likely, first word included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from experiments.pretraining.language import Batch, Language, head, loss_sum
from experiments.tasks.world.probes import MASK
from experiments.training.batches import evaluation_batches

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from experiments.tasks.world.probes import Probe

ROWS = 128  # a batch
GATES = {"class": 0.9, "synonym": 0.9, "agreement": 0.9, "polarity": 0.9, "negated_polarity": 0.75, "yes_no": 0.75}


@torch.no_grad()
def held_out_loss(model: PreTrainedModel, batches: Sequence[Batch]) -> float:
    """Mean cross entropy over all targets of the batches, in fp32."""
    model.eval()
    sums, count = 0.0, 0
    for batch in batches:
        total, targets = loss_sum(model, batch)
        sums, count = sums + total.item(), count + targets
    return sums / count


def accuracies(model: PreTrainedModel, language: Language, probes: Mapping[str, Sequence[Probe]]) -> dict[str, float]:
    """Share of correct answers by kind of probe."""
    model.eval()
    answer = causal_answers if language.causal else masked_answers
    accuracy = {}
    for kind, same_kind in probes.items():
        answers = answer(model, language, same_kind)
        correct = sum(word == probe.answer for word, probe in zip(answers, same_kind, strict=True))
        accuracy[kind] = correct / len(same_kind)
    return accuracy


@torch.no_grad()
def masked_answers(model: PreTrainedModel, language: Language, probes: Sequence[Probe]) -> list[str]:
    """An encoder's candidate for each probe. Raises ValueError for a candidate that is not a word."""
    tokenizer = language.tokenizer
    assert tokenizer.mask_token is not None
    rows = tokenizer([probe.text.replace(MASK, tokenizer.mask_token) for probe in probes])["input_ids"]
    answers = [""] * len(probes)
    for places in evaluation_batches([len(row) for row in rows], ROWS):
        ids, mask = _padded([rows[i] for i in places], language.pad)
        hidden = model.base_model(input_ids=ids, attention_mask=mask.long())[0]
        logits = head(model)(hidden[ids == tokenizer.mask_token_id])  # (rows, vocabulary): one mask a row
        for place, scores in zip(places, logits, strict=True):
            candidates = probes[place].candidates
            answers[place] = candidates[int(scores[[_one_id(tokenizer, word) for word in candidates]].argmax())]
    return answers


def causal_answers(model: PreTrainedModel, language: Language, probes: Sequence[Probe]) -> list[str]:
    """A causal model's candidate for each probe."""
    filled = [probe.text.replace(MASK, word) for probe in probes for word in probe.candidates]
    scores = iter(log_likelihoods(model, language, filled))
    answers = []
    for probe in probes:
        likelihoods = [next(scores) for _ in probe.candidates]
        answers.append(probe.candidates[likelihoods.index(max(likelihoods))])
    return answers


@torch.no_grad()
def log_likelihoods(model: PreTrainedModel, language: Language, texts: Sequence[str]) -> list[float]:
    """log P(text) of each text, given an end-of-text before it; its own end-of-text is not counted."""
    end = language.tokenizer.eos_token_id
    rows = [[end, *ids] for ids in language.tokenizer(list(texts), add_special_tokens=False)["input_ids"]]
    values = [0.0] * len(rows)
    for places in evaluation_batches([len(row) for row in rows], ROWS):
        ids, real = _padded([rows[i] for i in places], language.pad)
        logits = head(model)(model.base_model(input_ids=ids)[0][:, :-1]).float()  # (rows, length - 1, vocabulary)
        chosen = logits.gather(-1, ids[:, 1:, None]).squeeze(-1)
        likelihoods = ((chosen - logits.logsumexp(-1)) * real[:, 1:]).sum(-1)  # (rows,)
        for place, value in zip(places, likelihoods.tolist(), strict=True):
            values[place] = value
    return values


def _padded(rows: list[list[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Padded ids and the mask of real tokens, both (rows, length)."""
    length = max(map(len, rows))
    real = torch.arange(length) < torch.tensor([[len(row)] for row in rows])
    return torch.tensor([row + [pad] * (length - len(row)) for row in rows]), real


def _one_id(tokenizer, word: str) -> int:  # type: ignore[no-untyped-def]
    i = tokenizer.convert_tokens_to_ids(word)
    if i == tokenizer.unk_token_id:
        raise ValueError(f"the candidate {word!r} of a probe is not a word of the vocabulary")
    return i
