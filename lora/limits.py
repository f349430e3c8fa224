"""How many positions a model has, and what does not fit into them.

A row takes a position for each of its tokens, and one for each that a prefix adds (lora.positions). A model whose
positions are relative only has no limit.
"""

from transformers import PreTrainedConfig


def position_limit(config: PreTrainedConfig) -> int | None:
    """How many positions a row of the model can have; None where they are relative only."""
    limit = getattr(config, "max_position_embeddings", None)
    if limit is None or not getattr(config, "position_biased_input", True):
        return None
    return limit - config.pad_token_id - 1 if config.model_type == "roberta" else limit  # RoBERTa counts from there


def check_positions(config: PreTrainedConfig, what: str, tokens: int, added: int = 0, adds: str = "") -> None:
    """Raise ValueError where `tokens` positions, called `what`, and the `added` ones of `adds` are too many."""
    limit = position_limit(config)
    if limit is None or tokens + added <= limit:
        return
    if added:
        raise ValueError(f"{what} {tokens} and the {added} positions of {adds} are above the model's {limit}: "
                         f"{max(0, limit - added)} are left for the input")
    raise ValueError(f"{what} {tokens} is above the model's {limit} positions")
