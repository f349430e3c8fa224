"""What positions cannot be added to, and what of them a model cannot be given."""

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from lora import Combined, PrefixEmbed, PrefixLayer, load_adapter, save_adapter
from lora.positions import BeforeSeparator
from tests.lora.extended import (
    GENERATE,
    SEPARATOR,
    batch,
    language_model,
    prefix,
)
from tests.lora.tiny import D, lora, tiny


def test_positions_that_are_used_up_are_said_with_how_many_are_left() -> None:
    with pytest.raises(ValueError, match="of 1 and the 24 positions of l_p 20 and l_i 4 are above the model's 24: 0"):
        prefix(l_p=20, l_i=4).apply(tiny("gpt2"), pooler="train")
    with pytest.raises(ValueError, match="23 positions of l_p 20 and l_i 3 are above the model's 23"):  # counts from 1
        prefix(l_p=20, l_i=3).apply(tiny("roberta"), pooler="train")
    prefix(l_p=20, l_i=4).apply(tiny("deberta-v2"), pooler="train")  # its positions are relative only


@pytest.mark.parametrize(("architecture", "left"), [("bert", 4), ("roberta", 3), ("gpt2", 4)])
def test_a_row_that_is_too_long_is_said_with_how_much_is_left(architecture: str, left: int) -> None:
    model = tiny(architecture)
    prefix(l_p=18, l_i=2).apply(model, pooler="train")
    model(torch.arange(1, left + 1)[None])
    with pytest.raises(ValueError, match=f"an input of {left + 1} and the 20 positions of l_p 18 and l_i 2 are above "
                                         f"the model's {left + 20}: {left} are left"):
        model(torch.arange(1, left + 2)[None])


@pytest.mark.parametrize("use_cache", [True, False])
def test_generation_beyond_the_positions_is_refused_and_padding_takes_none(use_cache: bool) -> None:
    """Of 24 positions 5 are added and 3 are the prompt's: 16 generated tokens are fed again, and the 17th is not."""
    model = language_model()
    prefix().apply(model, pooler="train")
    ids = batch([[4, 5, SEPARATOR]], "left", 5).inputs()
    lengths = {"min_new_tokens": 17, "max_new_tokens": 17, "pad_token_id": 0, "use_cache": use_cache}
    assert model.generate(**ids, **lengths).shape == (1, 5 + 17)
    with pytest.raises(ValueError, match="an input of 20 and the 5 positions of l_p 3 and l_i 2 are above the model's"):
        model.generate(**ids, **lengths | {"min_new_tokens": 18, "max_new_tokens": 18})


def test_padding_needs_no_position_of_its_own() -> None:
    model = tiny("bert")
    prefix(l_p=18, l_i=2).apply(model, pooler="train")
    short = batch([[5, 6, 7]], "right", 3).inputs()
    assert_close(model(**batch([[5, 6, 7]], "right", 8).inputs()).logits, model(**short).logits)


def test_an_infix_needs_a_separator_and_another_can_be_named() -> None:
    model = language_model()
    prefix().apply(model, pooler="train")
    with pytest.raises(ValueError, match=rf"row 1 of the batch has no separator \(token {SEPARATOR}\) after its first"):
        model(torch.tensor([[4, SEPARATOR, 5], [4, 5, 6]]))
    with pytest.raises(ValueError, match="row 0 of the batch has no separator"):
        model(torch.tensor([[SEPARATOR, 5, 6]]))  # as Llama's tokenizer begins every text
    with pytest.raises(ValueError, match=r"inputs_embeds do not show the separator, .* give input_ids, or take l_i=0"):
        model(inputs_embeds=torch.zeros(1, 3, D))
    with pytest.raises(ValueError, match=r"has no separator .* give them whole \(no prefill_chunk_size\)"):
        model.generate(torch.tensor([[4, 5, 6, 7, SEPARATOR]]), **GENERATE, prefill_chunk_size=2)
    model = language_model()
    prefix(separator=6).apply(model, pooler="train")
    model(torch.tensor([[4, 6, 5], [4, 5, 6]]))
    model = language_model()
    model.config.bos_token_id = model.config.eos_token_id = None
    with pytest.raises(ValueError, match="the model has no beginning- or end-of-text token: name by"):
        prefix().apply(model, pooler="train")
    prefix(l_i=0).apply(model, pooler="train")  # without an infix there is nothing to place
    model(torch.tensor([[4, 5, 6]]))


@pytest.mark.parametrize("separator", [SEPARATOR, 6])
@pytest.mark.parametrize(("words", "place"), [
    ([4, 5, SEPARATOR, 7, SEPARATOR], 2),             # prompt separator target end, as GPT-2 has them
    ([SEPARATOR, 4, 5, SEPARATOR, 7, SEPARATOR], 3),  # the same after a beginning of text
    ([SEPARATOR, 4, 5, SEPARATOR], 3),                # a prompt to generate from
    ([4, SEPARATOR], 1),
    ([SEPARATOR, SEPARATOR, 7], 1),
])
def test_the_infix_stands_before_the_first_separator_that_begins_no_text(
    separator: int, words: list[int], place: int
) -> None:
    ids = torch.tensor([[separator if word == SEPARATOR else word for word in words]])
    for padding, length in ((0, len(words)), (2, len(words) + 3)):
        padded = torch.full((1, length), separator)  # GPT-2 pads with its end of text
        real = torch.zeros(1, length, dtype=torch.bool)
        padded[:, padding:padding + len(words)], real[:, padding:padding + len(words)] = ids, True
        assert BeforeSeparator(separator)(padded, real).tolist() == [padding + place]


@pytest.mark.parametrize("part", ["prefix_embed", "lora+prefix_embed"])
def test_an_adapter_carries_its_separator(part: str, tmp_path: Path) -> None:
    """The model's config may be another where the adapter is loaded."""
    torch.manual_seed(1)
    method = prefix() if part == "prefix_embed" else Combined(name=part, parts={"lora": lora(), "prefix": prefix()})
    model, ids = language_model(), torch.tensor([[4, 6, SEPARATOR, 5]])
    method.apply(model, pooler="train")
    save_adapter(model, tmp_path, base={})
    other = language_model()
    other.config.bos_token_id = 6
    load_adapter(other, tmp_path)
    assert torch.equal(other(ids).logits, model(ids).logits)


def test_a_cache_of_another_model_and_a_prepared_mask_are_refused() -> None:
    model, ids = language_model(), torch.tensor([[4, 5, SEPARATOR]])
    cache = model(ids, use_cache=True).past_key_values
    prefix().apply(model, pooler="train")
    with pytest.raises(ValueError, match="the cache holds 3 positions, the mask is of 3 tokens before these and 5 pos"):
        model(ids[:, -1:], past_key_values=cache, attention_mask=torch.ones(1, 4))
    with pytest.raises(ValueError, match="an attention mask of 4 dimensions cannot be made longer"):
        model(ids, attention_mask=torch.ones(1, 1, 3, 3))


@pytest.mark.parametrize("sizes", [{"l_p": 4, "l_i": 0}, {"l_p": 2, "l_i": 3}])
@pytest.mark.parametrize("kind", [PrefixEmbed, PrefixLayer])
def test_a_static_cache_is_refused_by_name(kind: type[PrefixEmbed], sizes: dict[str, int]) -> None:
    model, ids = language_model(), torch.tensor([[4, 5, SEPARATOR]])
    prefix(kind, **sizes).apply(model, pooler="train")
    message = rf"a StaticCache is made for the tokens and has no room for the {sum(sizes.values())} positions"
    with pytest.raises(ValueError, match=message):
        model.generate(ids, **GENERATE, cache_implementation="static")


def test_without_an_infix_embeddings_and_chunks_are_taken() -> None:
    model, ids = language_model(), torch.tensor([[4, 5, 6, 7, SEPARATOR]])
    prefix(l_i=0).apply(model, pooler="train")
    whole = model.generate(ids, **GENERATE)
    assert torch.equal(model.generate(ids, **GENERATE, prefill_chunk_size=2), whole)
    assert_close(model(inputs_embeds=model.get_input_embeddings()(ids)).logits, model(ids).logits)


def test_an_encoder_as_a_decoder_is_refused() -> None:
    model = tiny("bert")
    model.config.is_decoder = True
    with pytest.raises(ValueError, match="prefix_embed: a bert with is_decoder=True is not supported"):
        prefix().apply(model, pooler="train")
