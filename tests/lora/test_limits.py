"""The longest row that a model takes, against the model itself."""

import pytest
import torch
from transformers import AutoConfig, AutoModel

from lora.limits import AFTER_PADDING, check_positions, position_limit

SIZES = {"vocab_size": 16, "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
OWN = {"markuplm": {"max_depth": 2, "xpath_unit_hidden_size": 4}, "longformer": {"attention_window": [4]},
       "layoutlmv3": {"coordinate_size": 4, "shape_size": 4, "visual_embed": False},
       "luke": {"entity_vocab_size": 4, "entity_emb_size": 4}, "xmod": {"default_language": "en_XX"},
       "lilt": {"channel_shrink_ratio": 2}, "esm": {"position_embedding_type": "absolute", "mask_token_id": 4}}


@pytest.mark.parametrize("pad_token_id", [1, 3])
@pytest.mark.parametrize("kind", ["bert", "albert", *AFTER_PADDING])
def test_a_row_of_the_limit_runs_and_a_longer_one_does_not(kind: str, pad_token_id: int) -> None:
    config = AutoConfig.for_model(kind, **SIZES, max_position_embeddings=20, pad_token_id=pad_token_id,
                                  **OWN.get(kind, {}))
    model, limit = AutoModel.from_config(config, attn_implementation="eager").eval(), position_limit(config)
    assert limit == 20 - (0 if kind in ("bert", "albert") else 2 if kind == "mpnet" else pad_token_id + 1)
    with torch.no_grad():
        model(input_ids=torch.full((1, limit), 5))
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=torch.full((1, limit + 1), 5))
    with pytest.raises(ValueError, match=f"max_length {limit + 1} is above the model's {limit} positions"):
        check_positions(config, "max_length", limit + 1)
