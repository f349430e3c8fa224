"""A tiny random config of every architecture that transformers has a text classifier for."""

from typing import Any

from transformers import CONFIG_MAPPING, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

SIZES = {
    16: ("hidden_size", "d_model", "dim", "n_embd", "embed_dim", "emb_dim", "embedding_size"),
    2: ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers",
        "num_decoder_layers", "num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads",
        "decoder_attention_heads", "num_key_value_heads", "num_kv_heads", "num_experts_per_tok"),
    32: ("intermediate_size", "d_ff", "d_inner", "hidden_dim", "dff", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim",
         "n_inner", "moe_intermediate_size", "shared_expert_intermediate_size"),
    8: ("head_dim", "d_kv", "d_head", "attention_head_size", "q_lora_rank", "kv_lora_rank", "qk_rope_head_dim",
        "qk_nope_head_dim", "v_head_dim"),
    4: ("num_local_experts", "num_experts", "n_routed_experts"),
    40: ("max_position_embeddings", "n_positions"),
    64: ("vocab_size", "entity_vocab_size"),
}
OWN: dict[str, dict[str, Any]] = {  # what the sizes above do not say
    "cohere_compass_text": {"layer_types": ["full_attention"] * 2, "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 10000.0}}},
    "esm": {"vocab_size": 64},
    "funnel": {"architectures": ["FunnelModel"]},
    "gpt_neo": {"attention_types": [[["global"], 2]]},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "ministral": {"head_dim": 8},
    "nemotron": {"num_key_value_heads": 2, "head_dim": 8},
    "perceiver": {"num_latents": 4, "d_latents": 16, "d_model": 16, "num_self_attends_per_block": 1,
                  "num_self_attention_heads": 2, "num_cross_attention_heads": 2},
    "reformer": {"axial_pos_embds_dim": [8, 8], "axial_pos_shape": [5, 8]},
    "roc_bert": {"pronunciation_vocab_size": 8, "shape_vocab_size": 8},
    "zamba": {"num_hidden_layers": 4, "layer_types": ["mamba", "hybrid"] * 2},
    "zamba2": {"layer_types": ["mamba", "hybrid"]},
}
LARGE = {  # built without numbers
    **dict.fromkeys(("gemma3", "modernvbert", "qwen3_5", "ultravbert"), "its model of images has no small default"),
    **dict.fromkeys(("t5gemma", "t5gemma2"), "its encoder and decoder have configs of their own"),
}
ABSENT = {"layoutlmv2": "needs detectron2, which is not on PyPI"}
ARCHITECTURES = [name for name in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES if name not in ABSENT]


def tiny_config(architecture: str) -> PreTrainedConfig:
    """The architecture's own config with small sizes, and padding token 1."""
    kind = CONFIG_MAPPING[architecture]
    default = kind()
    sizes = {name: size for size, names in SIZES.items() for name in names
             if type(getattr(default, name, None)) is int and name not in kind.attribute_map
             and not isinstance(getattr(kind, name, None), property)}
    tokens = {name: 2 for name in ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id",
                                   "decoder_start_token_id") if getattr(default, name, None) is not None}
    return kind(**sizes | tokens | {"pad_token_id": 1} | OWN.get(architecture, {}))
