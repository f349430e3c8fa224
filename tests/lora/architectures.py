"""Tiny random models of many architectures, with word embeddings tied to the output layer or not."""

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel

from tests.lora.tiny import CONFIGS

SIZES: dict[str, Any] = dict(
    vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
    max_position_embeddings=24, pad_token_id=0, bos_token_id=1, eos_token_id=2)
BART = dict(vocab_size=50, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=24,
            pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=2)
T5 = dict(vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, pad_token_id=0, eos_token_id=2,
          decoder_start_token_id=0)
GPT = dict(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=24, pad_token_id=0)
CLASSIFIERS: dict[str, dict[str, Any]] = CONFIGS | {
    **dict.fromkeys(("xlm-roberta", "camembert", "mpnet", "electra", "albert", "modernbert", "gpt_neox"), SIZES),
    **dict.fromkeys(("mistral", "qwen2"), SIZES | dict(num_key_value_heads=1)),
    "distilbert": dict(vocab_size=50, dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=24),
    "opt": SIZES | dict(ffn_dim=32, word_embed_proj_dim=16), "bloom": SIZES | dict(n_head=2, n_layer=2),
    "gpt_bigcode": GPT, "openai-gpt": GPT, "bart": BART, "t5": T5}
LANGUAGE_MODELS = ("gpt2", "llama", "mistral", "qwen2", "gpt_neox", "opt", "bloom", "gpt_bigcode", "openai-gpt")


@torch.no_grad()
def made(kind: str, language_model: bool, tied: bool) -> PreTrainedModel:
    """A random model with weights large enough for attention to matter."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **CLASSIFIERS[kind], tie_word_embeddings=tied, num_labels=3)
    model = (AutoModelForCausalLM if language_model else AutoModelForSequenceClassification).from_config(config)
    for p in model.parameters():
        if p.dim() > 1:
            nn.init.normal_(p, std=0.2)
    return model.eval()
