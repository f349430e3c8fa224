"""The number of positions of a model, and the check that an input fits into them.

A row takes a position for each of its tokens, and one for each that a prefix adds (lora.positions). A model whose
positions are relative only has no limit.
"""

from transformers import PreTrainedConfig


def position_limit(config: PreTrainedConfig) -> int | None:
    """Largest number of positions in a row of the model; None where they are relative only."""
    limit = getattr(config, "max_position_embeddings", None)
    if limit is None or not getattr(config, "position_biased_input", True):
        return None
    return limit - config.pad_token_id - 1 if config.model_type == "roberta" else limit  # RoBERTa counts from there


def check_positions(config: PreTrainedConfig, name: str, tokens: int, added: int = 0, adds: str = "") -> None:
    """Raise ValueError where `tokens` positions, called `name`, and the `added` ones of `adds` are too many."""
    limit = position_limit(config)
    if limit is None or tokens + added <= limit:
        return
    if added:
        raise ValueError(f"{name} {tokens} and the {added} positions of {adds} are above the model's {limit}: "
                         f"{max(0, limit - added)} are left for the input")
    raise ValueError(f"{name} {tokens} is above the model's {limit} positions")
