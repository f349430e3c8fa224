"""The number of positions of a model, and the check that an input fits into them.

A row takes a position for each of its tokens, and one for each that a prefix adds (lora.positions). A model whose
positions are relative only has no limit.
"""

from transformers import PreTrainedConfig

# config.model_type of the models whose first token has the position after that of padding: RoBERTa and what follows it
AFTER_PADDING = ("roberta", "camembert", "data2vec-text", "esm", "ibert", "layoutlmv3", "lilt", "longformer", "luke",
                 "markuplm", "mpnet", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod")


def position_limit(config: PreTrainedConfig) -> int | None:
    """Largest number of positions in a row of the model; None where they are relative only."""
    config = config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None)
    if limit is None or not getattr(config, "position_biased_input", True):
        return None
    if config.model_type not in AFTER_PADDING or getattr(config, "position_embedding_type", "absolute") == "rotary":
        return limit
    return limit - (1 if config.model_type == "mpnet" else config.pad_token_id) - 1  # MPNet's is 1 in its code


def check_positions(config: PreTrainedConfig, name: str, tokens: int, added: int = 0, adds: str = "") -> None:
    """Raise ValueError where `tokens` positions, called `name`, and the `added` ones of `adds` are too many."""
    limit = position_limit(config)
    if limit is None or tokens + added <= limit:
        return
    if added:
        raise ValueError(f"{name} {tokens} and the {added} positions of {adds} are above the model's {limit}: "
                         f"{max(0, limit - added)} are left for the input")
    raise ValueError(f"{name} {tokens} is above the model's {limit} positions")
