"""Added positions: the model equals one whose vocabulary has the special tokens, and nothing else of it changes."""

import copy

import pytest
import torch
from peft import PromptTuningConfig, get_peft_model
from torch import Tensor
from torch.testing import assert_close
from transformers import DynamicCache, PreTrainedModel

from lora import PrefixEmbed, PrefixLayer, disabled
from lora.positions import Layout
from tests.lora.extended import (
    CAUSAL,
    GENERATE,
    INFIX,
    L_I,
    L_P,
    PREFIX,
    SENTENCES,
    SEPARATOR,
    WORDS,
    batch,
    by_layer,
    extended,
    kind_of,
    language_model,
    plain,
    positions_as_generated,
    prefix,
    some_vectors,
    written_out,
)
from tests.lora.tiny import CONFIGS, D, tiny

SIDES = ("right", "left")
KINDS = (PrefixEmbed, PrefixLayer)


@torch.no_grad()
def given(model: PreTrainedModel, vectors: Tensor, **changes: object) -> PreTrainedModel:
    """`model` with a prefix of these embeddings, (l_p + l_i, d)."""
    groups = prefix(**changes).apply(model, pooler="train")
    (own,) = groups[0].parameters.values()
    own.copy_(vectors)
    return model


def test_a_layout_by_hand() -> None:
    """Rows `. . a b c` and `d e f . .` with the prefix P Q before the first token and the infix I before b and f."""
    layout = Layout.of(torch.tensor([2, 0]), torch.tensor([3, 2]), 5, 2, 1)
    tokens, added = torch.tensor([[0, 0, 1, 2, 3], [4, 5, 6, 0, 0]]), torch.tensor([[7, 8, 9]]).expand(2, 3)
    longer = layout.spread(tokens, added)
    assert longer.tolist() == [[0, 0, 7, 8, 1, 9, 2, 3], [7, 8, 4, 5, 9, 6, 0, 0]]
    assert torch.equal(layout.cut(longer), tokens)
    hidden = torch.zeros(2, 8, 2)
    replaced = layout.replace(hidden, torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    assert replaced[..., 0].tolist() == [[0, 0, 1, 3, 0, 5, 0, 0], [1, 3, 0, 0, 5, 0, 0, 0]]
    assert replaced[..., 1].sum() == 2 * (2 + 4 + 6)


# The oracle: special tokens in the text

def pooled_logits(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """An encoder's head on the body's hidden states (rows, length, d)."""
    body = getattr(model, model.base_model_prefix)
    if model.config.model_type == "bert":
        return model.classifier(body.pooler(hidden))
    return model.classifier(hidden if model.config.model_type == "roberta" else model.pooler(hidden))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("architecture", CONFIGS)
@torch.no_grad()
def test_a_prefix_is_special_tokens_in_the_text(architecture: str, side: str) -> None:
    model, vectors = tiny(architecture), some_vectors()
    oracle = extended(model, vectors)
    longer, ours = written_out(kind_of(architecture), side), given(model, vectors)
    own = ours(**plain(side).inputs(), output_hidden_states=True)
    wanted = oracle(**longer.inputs(), output_hidden_states=True)
    for hidden, expected in zip(own.hidden_states, wanted.hidden_states, strict=True):
        assert_close(plain(side).of(hidden), longer.of(expected))
    if architecture in CAUSAL:
        assert_close(own.logits, wanted.logits)
    elif side == "right":  # transformers' encoders pool the first place of a row, padding or not
        assert_close(own.logits, pooled_logits(oracle, wanted.hidden_states[-1][:, L_P:]))
    with disabled(ours):
        assert (plain(side).of(ours(**plain(side).inputs(), output_hidden_states=True).hidden_states[-1])
                - longer.of(wanted.hidden_states[-1])).abs().max() > 1e-3


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("architecture", ["bert", "roberta", "gpt2"])
@torch.no_grad()
def test_given_position_numbers_and_segments_go_on_through_the_added_positions(architecture: str, side: str) -> None:
    model, vectors = tiny(architecture), some_vectors()
    oracle, offset = extended(model, vectors), 2 if architecture == "roberta" else 0
    longer, rows = written_out(kind_of(architecture), side), plain(side)
    own, wanted = rows.inputs(), longer.inputs()
    for each in (own, wanted):
        each["position_ids"] = positions_as_generated(each["attention_mask"]) + offset
    if architecture == "bert":  # segments 0 0 1 1 ...: added positions have that of the token beside them
        own["token_type_ids"] = (positions_as_generated(own["attention_mask"]) >= 2).long()
        wanted["token_type_ids"] = (positions_as_generated(wanted["attention_mask"]) >= 2 + L_P).long()
    body, plain_body = (getattr(each, each.base_model_prefix) for each in (given(model, vectors), oracle))
    assert_close(rows.of(body(**own).last_hidden_state), longer.of(plain_body(**wanted).last_hidden_state))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ["bert", "roberta", "deberta", "deberta-v2", "gpt2"])
@torch.no_grad()
def test_padding_and_its_side_make_no_difference(architecture: str, kind: type[PrefixEmbed]) -> None:
    model = tiny(architecture)
    torch.manual_seed(4)
    prefix(kind).apply(model, pooler="train")
    numbered = architecture in ("bert", "gpt2")  # these count padding among the positions unless told

    def outputs(rows: list[list[int]], side: str, length: int) -> tuple[Tensor, Tensor]:
        padded = batch(rows, side, length)
        inputs = padded.inputs()
        if numbered:
            inputs["position_ids"] = positions_as_generated(inputs["attention_mask"])
        out = model(**inputs, output_hidden_states=True)
        return padded.of(out.hidden_states[-1]), out.logits

    singly = [outputs([words], "right", len(words)) for words in SENTENCES]
    alone = [torch.cat(each) for each in zip(*singly, strict=True)]
    for side in SIDES:
        hidden, logits = outputs(SENTENCES, side, 11)
        assert_close(hidden, alone[0])
        if side == "right" or architecture in CAUSAL:  # transformers' encoders pool the first place, padding or not
            assert_close(logits, alone[1])


# Nothing changes that should not

@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", CONFIGS)
@torch.no_grad()
def test_a_prefix_of_no_length_changes_no_bit(architecture: str, kind: type[PrefixEmbed], side: str) -> None:
    model, inputs = tiny(architecture), plain(side).inputs()
    before = model(**inputs, output_hidden_states=True)
    groups = prefix(kind, l_p=0, l_i=0).apply(model, pooler="train")
    assert sum(p.numel() for p in groups[0].parameters.values()) == 0
    after = model(**inputs, output_hidden_states=True)
    assert torch.equal(after.logits, before.logits)
    assert all(torch.equal(a, b) for a, b in zip(after.hidden_states, before.hidden_states, strict=True))
    alone = inputs["input_ids"][:1]  # without a mask
    assert torch.equal(model(alone).logits, tiny(architecture)(alone).logits)


@pytest.mark.parametrize("side", SIDES)
@torch.no_grad()
def test_no_tokens_target_shifts(side: str) -> None:
    """transformers' own loss, labels on the target tokens only: the special tokens in the text have none."""
    model, vectors = language_model(), some_vectors()
    oracle = extended(model, vectors)
    rows, longer = plain(side), written_out("language model", side)
    losses = []
    for each, lm in ((rows, given(model, vectors)), (longer, oracle)):
        labels = torch.full_like(each.ids, -100)
        for row, words in enumerate(SENTENCES):
            for place, word in list(zip(each.places[row], words, strict=True))[words.index(SEPARATOR) + 1:]:
                labels[row, place] = word
        out = lm(**each.inputs(), labels=labels)
        losses.append((out.loss, each.of(out.logits)[:, :WORDS]))
    assert_close(losses[0], losses[1])


# Activations replaced at every block (prefix_layer)

@torch.no_grad()
def test_replaced_activations_of_gpt2_are_keys_and_values_of_a_cache() -> None:
    """What a block attends to at a position is k and v of the activation there: put into a cache, they are the same."""
    model = language_model()
    plain_model = copy.deepcopy(model)
    groups = prefix(PrefixLayer, l_i=0).apply(model, pooler="train")
    cache = DynamicCache()
    blocks = zip(plain_model.transformer.h, by_layer(groups[0].parameters), strict=True)
    for layer, (block, vectors) in enumerate(blocks):
        vectors.normal_()
        _, k, v = block.attn.c_attn(block.ln_1(vectors)).split(D, dim=-1)
        cache.update(*(each.view(1, L_P, 2, D // 2).transpose(1, 2) for each in (k, v)), layer)
    ids = torch.tensor([SENTENCES[0]])
    assert_close(model(ids).logits, plain_model(ids, past_key_values=cache).logits)


@pytest.mark.parametrize("architecture", CONFIGS)
@torch.no_grad()
def test_replacing_activations_by_those_of_the_special_tokens_changes_nothing(architecture: str) -> None:
    """And each block's set counts: another number in any of them shows in the logits."""
    model, vectors = tiny(architecture), some_vectors()
    longer = written_out(kind_of(architecture), "right")
    oracle = extended(model, vectors)
    row = {key: value[:1] for key, value in longer.inputs().items()}
    hidden = oracle(**row, output_hidden_states=True).hidden_states
    at = [place for place, word in enumerate(longer.ids[0]) if word >= WORDS]
    wanted = given(copy.deepcopy(model), vectors)(**{key: value[:1] for key, value in plain("right").inputs().items()})
    groups = prefix(PrefixLayer).apply(model, pooler="train")
    ours = by_layer(groups[0].parameters)
    assert len(ours) == len(hidden) - 1
    for own, entering in zip(ours, hidden, strict=False):
        own.copy_(entering[0, at])
    inputs = {key: value[:1] for key, value in plain("right").inputs().items()}
    assert_close(model(**inputs).logits, wanted.logits)
    for own in ours:
        before = own.clone()
        own[:, 0] += 1  # in all d alike it would be lost in the next LayerNorm
        assert (model(**inputs).logits - wanted.logits).abs().max() > 1e-3
        own.copy_(before)


def test_replaced_activations_start_as_those_of_words() -> None:
    """With no infix, in a causal model, prefix_layer starts as the same words do in prefix_embed."""
    logits = []
    for kind in KINDS:
        model = language_model()
        torch.manual_seed(6)
        prefix(kind, l_i=0).apply(model, pooler="train")
        logits.append(model(**plain("right").inputs()).logits)
    assert_close(logits[0], logits[1])


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_checkpointing_gives_the_same_gradients(kind: type[PrefixEmbed]) -> None:
    """Two forwards before one backward: blocks that run again have each its own batch's layout."""
    gradients = []
    for checkpointing in (False, True):
        model = language_model().train()
        torch.manual_seed(4)
        groups = prefix(kind).apply(model, pooler="train")
        if checkpointing:
            model.activation_checkpointing_enable()
        losses = [model(ids, labels=ids).loss for ids in (torch.tensor([words]) for words in SENTENCES)]
        sum(losses).backward()
        gradients.append([p.grad for p in groups[0].parameters.values()])
    assert_close(gradients[0], gradients[1])


# Generation

PROMPTS = [words[:words.index(SEPARATOR) + 1] for words in SENTENCES]


@pytest.mark.parametrize("beams", [1, 3])
@torch.no_grad()
def test_generation_is_that_with_special_tokens_in_the_prompt_with_and_without_a_cache(beams: int) -> None:
    model, vectors = language_model(), some_vectors()
    oracle = extended(model, vectors)
    prompts = batch(PROMPTS, "left", 5)
    longer = batch([PREFIX + words[:-1] + INFIX + words[-1:] for words in PROMPTS], "left", 5 + L_P + L_I)
    wanted = oracle.generate(**longer.inputs(), **GENERATE, num_beams=beams)
    given(model, vectors)
    for use_cache in (True, False):
        made = model.generate(**prompts.inputs(), **GENERATE, num_beams=beams, use_cache=use_cache)
        assert torch.equal(made[:, 5:], wanted[:, 5 + L_P + L_I:])
    with disabled(model):
        base = model.generate(**prompts.inputs(), **GENERATE, num_beams=beams)
    assert not torch.equal(base, made)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", CAUSAL)
@torch.no_grad()
def test_a_cache_and_a_batch_change_no_generated_token(architecture: str, kind: type[PrefixEmbed]) -> None:
    model, prompts = language_model(architecture), batch(PROMPTS, "left", 5)
    torch.manual_seed(4)
    prefix(kind).apply(model, pooler="train")
    cached = model.generate(**prompts.inputs(), **GENERATE)
    assert torch.equal(model.generate(**prompts.inputs(), **GENERATE, use_cache=False), cached)
    for row, words in enumerate(PROMPTS):
        alone = model.generate(torch.tensor([words]), **GENERATE)
        assert torch.equal(alone[0, len(words):], cached[row, 5:])


# PEFT's prompt tuning: the same vectors before the input, and no infix

@torch.no_grad()
def test_a_prefix_embedding_is_pefts_prompt_tuning() -> None:
    model = language_model()
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=L_P)
    theirs = get_peft_model(copy.deepcopy(model), config).eval()
    groups = prefix(l_i=0).apply(model, pooler="train")
    (own,) = groups[0].parameters.values()
    prompt = theirs.prompt_encoder["default"].embedding.weight
    assert prompt.shape == own.shape
    own.copy_(prompt)
    rows = plain("right")
    assert_close(rows.of(model(**rows.inputs()).logits), rows.of(theirs(**rows.inputs()).logits[:, L_P:]))
