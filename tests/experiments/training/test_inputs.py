"""What a row gets is its own: the size of its batch, its padding and the rows beside it change nothing."""

import functools
import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from experiments.tasks.base import padded
from experiments.tasks.data import TextTable
from experiments.training.inputs import fit_rows, has_token_types, padding_multiple, sees_padding
from lora.sites import ARCHITECTURES
from tests.experiments.tasks.made import END, WORDS, make, text_task, word_level

TASK = text_task("mrpc")
VOCABULARY, PAD, FIRST, LAST = 40, 1, 0, 2
SHAPE = dict(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
             max_position_embeddings=40, type_vocab_size=2, pad_token_id=PAD, bos_token_id=FIRST, eos_token_id=LAST)
ENCODER_DECODER = dict(d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=32,
                       decoder_attention_heads=2, decoder_ffn_dim=32, decoder_start_token_id=LAST)
FUNNEL = dict(num_hidden_layers=..., block_sizes=[1, 2], d_model=16, n_head=2, d_head=8, d_inner=32)
MOBILE_BERT = dict(embedding_size=8, intra_bottleneck_size=8, num_feedforward_networks=1)
XLNET = dict(max_position_embeddings=..., d_model=16, n_layer=2, n_head=2, d_inner=32)  # ...: a key that it has not
SHAPES: dict[str, dict] = {
    "bert": {}, "roberta": {}, "deberta": {"pooler_hidden_size": 16},
    "deberta-v2": {"pooler_hidden_size": 16, "relative_attention": True, "pos_att_type": ["p2c", "c2p"],
                   "position_buckets": 4, "conv_kernel_size": 3, "conv_act": "gelu"},
    "gpt2": {}, "llama": {},  # those with roles; others are adapted by patterns over their modules
    "albert": {"embedding_size": 8}, "bart": ENCODER_DECODER, "bloom": {}, "ctrl": {"dff": 32},
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}, "electra": {"embedding_size": 8},
    "falcon": {"new_decoder_architecture": False, "alibi": True}, "gpt_neox": {}, "longformer": {"attention_window": 4},
    "mistral": {"num_key_value_heads": 1, "sliding_window": 4},
    "modernbert": {"local_attention": 4, "cls_token_id": FIRST, "sep_token_id": LAST}, "mpnet": {}, "mpt": {},
    "openai-gpt": {}, "opt": {"ffn_dim": 32, "word_embed_proj_dim": 16}, "qwen2": {"num_key_value_heads": 1},
    "squeezebert": {"embedding_size": 16},
    "t5": {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": PAD},
    "xlm": {"emb_dim": 16, "n_layers": 2, "n_heads": 2}, "xlm-roberta": {},
}
# padding is mixed into the tokens by a Fourier transform, a convolution, or a mean of neighbours
SEEN: dict[str, dict] = {"convbert": {}, "fnet": {}, "funnel": FUNNEL, "mobilebert": MOBILE_BERT,
                         "nystromformer": {}}
LONGEST = 32  # tokens
ROW = st.lists(st.integers(3, VOCABULARY - 1), min_size=1, max_size=28)


@functools.cache
def built(architecture: str, **changes: int | None) -> PreTrainedModel:
    """A classifier with large random weights, whose outputs differ with every token."""
    shape = SHAPE | {**SHAPES, **SEEN, "xlnet": XLNET}[architecture] | changes
    config = AutoConfig.for_model(architecture, **{key: value for key, value in shape.items() if value is not ...})
    return spread(AutoModelForSequenceClassification.from_config(config))


def spread(model: PreTrainedModel) -> PreTrainedModel:
    """`model` with weights of a standard deviation of 0.2."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def tokenizer_padding_with(token: int | None) -> PreTrainedTokenizerFast:
    return SimpleNamespace(pad_token_id=token, pad_token="<pad>")  # type: ignore[return-value]  # all that is read


def row(tokens: list[int]) -> dict:
    half = len(tokens) // 2
    return {"input_ids": [FIRST, *tokens, LAST], "token_type_ids": [0] * (half + 1) + [1] * (len(tokens) - half + 1),
            "labels": 0}


@torch.no_grad()
def logits(model: PreTrainedModel, rows: list[dict], pad: int, multiple: int) -> torch.Tensor:
    batch = TASK.collate(rows, pad, multiple)
    del batch["labels"]
    return model(**batch).logits


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_every_architecture_with_roles_is_among_them():
    assert set(ARCHITECTURES) <= set(SHAPES)


@pytest.mark.parametrize("architecture", SHAPES)
@given(st.lists(ROW, min_size=2, max_size=4), st.sampled_from([LONGEST, LONGEST - 1]))
@settings(max_examples=6, deadline=None, derandomize=True)
def test_the_outputs_of_a_row_are_those_that_it_has_alone(architecture, lists, longest):
    model, rows = built(architecture), [row(tokens) for tokens in lists]
    fit_rows(model, tokenizer_padding_with(PAD), rows)
    multiple = padding_multiple(model, TASK, rows, PAD, longest)
    assert multiple == (8 if longest == LONGEST else 1)
    close(logits(model, rows, PAD, multiple), torch.cat([logits(model, [one], PAD, 1) for one in rows]))


@pytest.mark.parametrize("architecture", [*SHAPES, *SEEN])
def test_the_side_on_which_a_tokenizer_pads_changes_no_output(architecture):
    texts, task = [" ".join(WORDS[:length]) for length in (20, 9, 6, 4)], text_task("sst2")
    table = TextTable("made", {"sentence": texts, "label": [0, 1, 0, 1]})
    tokenizer, model = word_level(), built(architecture)
    tokenizer.pad_token = "<unk>"  # token 1
    for side in ("left", "right"):
        tokenizer.padding_side = side
        rows = task.encode(table, tokenizer, LONGEST)
        fit_rows(model, tokenizer, rows)
        multiple = padding_multiple(model, task, rows, PAD, LONGEST)
        padding = "max_length" if architecture in SEEN else False  # where padding is seen, a row alone is as long
        alone = [tokenizer(text, padding=padding, max_length=LONGEST, padding_side="right",
                           return_token_type_ids=False, return_tensors="pt") for text in texts]
        with torch.no_grad():
            close(logits(model, rows, PAD, multiple), torch.cat([model(**inputs).logits for inputs in alone]))


@pytest.mark.parametrize("architecture", SEEN)
def test_where_padding_is_seen_every_row_has_one_length_in_every_batch(architecture):
    model, rows = built(architecture), [row([*range(3, 3 + length)]) for length in (20, 3, 6, 7)]
    fit_rows(model, tokenizer_padding_with(PAD), rows)
    multiple = padding_multiple(model, TASK, rows, PAD, LONGEST)
    assert multiple == LONGEST
    close(logits(model, rows, PAD, multiple), torch.cat([logits(model, [one], PAD, multiple) for one in rows]))
    ordinary = logits(model, rows, PAD, 1) - torch.cat([logits(model, [one], PAD, 1) for one in rows])
    assert ordinary.abs().max() > 1e-3  # as it would be otherwise


def test_a_model_that_classifies_by_the_last_position_is_refused():
    with pytest.raises(ValueError, match="a xlnet model classifies a row by its last position, which is padding"):
        padding_multiple(built("xlnet"), TASK, [row([5, 6, 7])], PAD, LONGEST)


def test_rows_that_are_never_padded_need_no_other_length():
    assert padding_multiple(built("fnet"), TASK, [row([*range(3, 11)])], PAD, 10) == 2


@pytest.mark.parametrize("config_has", [None, LAST, 7])
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "opt", "openai-gpt"])
def test_a_decoder_pools_the_last_token_of_a_tokenizer_whose_padding_its_config_does_not_know(architecture, config_has):
    model, rows = built(architecture, pad_token_id=None), [row([3, 4, 5]), row([*range(3, 13)])]
    alone = torch.cat([model(input_ids=torch.tensor([one["input_ids"]])).logits for one in rows])  # of the last token
    model.config.pad_token_id = config_has
    fit_rows(model, tokenizer_padding_with(PAD), rows)
    torch.testing.assert_close(logits(model, rows, PAD, 8), alone)
    assert model.config.pad_token_id == PAD


def test_a_mismatch_of_padding_tokens_is_seen_where_the_model_is_not_told():
    one = {"input_ids": [3, 4, 5], "labels": 0}
    assert sees_padding(built("gpt2", pad_token_id=9), TASK, one, PAD, LONGEST)
    assert not sees_padding(built("gpt2", pad_token_id=9), TASK, one, 9, LONGEST)


@pytest.mark.parametrize("architecture", ["roberta", "xlm-roberta", "mpnet", "longformer"])
def test_a_model_that_counts_positions_from_its_padding_token_must_have_the_tokenizers(architecture):
    message = r"the tokenizer pads with token 3 \(<pad>\), and the model counts positions from its padding token 1"
    with pytest.raises(ValueError, match=message):
        fit_rows(built(architecture), tokenizer_padding_with(3), [row([4])])


@pytest.mark.parametrize("architecture", ["gpt2", "ctrl", "openai-gpt", "xlm", "llama", "distilbert", "t5",
                                          "deberta-v2"])
def test_token_types_are_left_out_where_a_model_has_none(architecture):
    model, rows = built(architecture, type_vocab_size=0), [row([5, 6, 7, 8])]
    without = model(input_ids=torch.tensor([rows[0]["input_ids"]])).logits
    fit_rows(model, tokenizer_padding_with(PAD), rows)
    assert rows[0].keys() == {"input_ids", "labels"}
    torch.testing.assert_close(logits(model, rows, PAD, 1), without)


@pytest.mark.parametrize("architecture", ["bert", "albert", "electra"])
def test_token_types_are_given_to_a_model_that_has_them(architecture):
    model, one = built(architecture), row([5, 6, 7, 8])
    fit_rows(model, tokenizer_padding_with(PAD), [one])
    inputs = {key: torch.tensor([one[key]]) for key in ("input_ids", "token_type_ids")}
    torch.testing.assert_close(logits(model, [one], PAD, 1), model(**inputs).logits)
    assert not torch.allclose(model(**inputs).logits, model(input_ids=inputs["input_ids"]).logits)


def test_one_type_of_token_is_none():
    assert not has_token_types(built("roberta", type_vocab_size=1))


def test_the_loss_of_a_text_does_not_depend_on_its_batch():
    tokenizer, task = word_level(), make()
    tokenizer.pad_token = END
    model = spread(AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt2", **SHAPE)))
    rows = [{"input_ids": [*range(3, n)], "labels": [-100, *range(4, n)]} for n in (6, 30)]
    fit_rows(model, tokenizer, rows)

    def losses(some: list[dict]) -> torch.Tensor:
        batch = task.collate(some, tokenizer.pad_token_id)
        labels = batch.pop("labels")
        return task.predictions(model(**batch).logits, labels)

    torch.testing.assert_close(losses(rows), torch.cat([losses([one]) for one in rows]))


@given(st.lists(ROW, min_size=1, max_size=4), st.integers(1, 40))
def test_rows_are_never_padded_above_the_longest_input(lists, max_length):
    rows = [{"input_ids": tokens[:max_length]} for tokens in lists]
    assert padded(rows, {"input_ids": PAD}, math.gcd(8, max_length))["input_ids"].shape[1] <= max_length
