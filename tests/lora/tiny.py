"""Models of two layers, and a LoRA method with conf/method/lora.yaml's values, for the tests of lora/."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from lora import LoRA, adapted_layers

D, HEADS, LAYERS = 16, 2, 2
BERT_LIKE: dict[str, Any] = dict(
    hidden_size=D, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=2 * D, vocab_size=50,
    max_position_embeddings=24, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, pad_token_id=0)
DEBERTA: dict[str, Any] = BERT_LIKE | dict(
    relative_attention=True, pos_att_type=["c2p", "p2c"], position_biased_input=False, type_vocab_size=0)
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": BERT_LIKE,
    "roberta": BERT_LIKE,
    "deberta": DEBERTA,
    "deberta-v2": DEBERTA | dict(share_att_key=True, position_buckets=4, norm_rel_ebd="layer_norm"),
    "gpt2": dict(n_embd=D, n_layer=LAYERS, n_head=HEADS, vocab_size=50, n_positions=24, pad_token_id=0,
                 resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0),
    "llama": dict(hidden_size=D, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=2 * D,
                  vocab_size=50, max_position_embeddings=24, pad_token_id=0),
}
LORA: dict[str, Any] = dict(name="lora", rank=2, alpha=6, dropout=0.0, targets=["q", "v"], init="kaiming",
                            rank_stabilised=False, dora=False, learning_rate_scale_B=None, bias="none",
                            layernorm=False, position_query=True)


def tiny(architecture: str, seed: int = 0, num_labels: int = 3) -> PreTrainedModel:
    """A random classifier in eval mode, with weights large enough for an update to show in its logits."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(architecture, num_labels=num_labels, initializer_range=0.2, **CONFIGS[architecture])
    return AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()


def lora(**changes: Any) -> LoRA:
    """LoRA with these fields changed."""
    return LoRA(**LORA | changes)


def adapt(model: nn.Module, adapter: str = "default", seed: int = 1, **changes: Any) -> nn.Module:
    """Apply LoRA and give all that it trains numbers: B starts at zero, where most tests could not fail."""
    torch.manual_seed(seed)
    groups = lora(**changes).apply(model, pooler="train", adapter=adapter)
    with torch.no_grad():
        for group in groups:
            for name, parameter in group.parameters.items():
                if not name.endswith(".A"):
                    parameter += 0.3 * torch.randn_like(parameter)
    return model


def tokens(rows: int = 4, length: int = 7, seed: int = 2) -> dict[str, torch.Tensor]:
    """A batch without padding."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 50, (rows, length), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def two(architecture: str, **changes: Any) -> nn.Module:
    """A model with the adapters a and b, b active."""
    return adapt(adapt(tiny(architecture), "a", seed=1, **changes), "b", seed=2, **changes)


def logits(model: nn.Module, batch: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
    return model(**(batch or tokens())).logits.detach()


def sites(model: nn.Module) -> list[str]:
    """Names of the adapted modules."""
    return [name for name, _ in adapted_layers(model)]

ROWS = ["a", None, "b", "a", "b", None]


def gradients(model: nn.Module, batch: dict[str, Tensor], chosen: list[int]) -> dict[str, Tensor]:
    """Gradients of the chosen rows' summed logits, by the name of the low-rank tensor."""
    model.zero_grad()
    model(**batch).logits[chosen].square().sum().backward()
    return {name: p.grad for name, p in model.named_parameters()
            if ".updates." in name and p.grad is not None and p.grad.any()}
