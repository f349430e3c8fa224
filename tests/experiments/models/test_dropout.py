"""A rate of dropout changes the training loss of every architecture, or is refused by name."""

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from experiments.models.dropout import check_dropout, set_dropout

COMMON = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
          "intermediate_size": 16, "max_position_embeddings": 32, "pad_token_id": 0}
DECODER = {**COMMON, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2}
SEQ2SEQ = {"vocab_size": 40, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
           "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_position_embeddings": 32,
           "pad_token_id": 0, "eos_token_id": 2, "bos_token_id": 1, "decoder_start_token_id": 2}
SHAPES = {
    "albert": {**COMMON, "embedding_size": 8}, "bart": SEQ2SEQ, "bert": COMMON,
    "bloom": {"vocab_size": 40, "hidden_size": 16, "n_layer": 2, "n_head": 2, "pad_token_id": 0},
    "camembert": COMMON, "deberta": {**COMMON, "type_vocab_size": 0}, "deberta-v2": {**COMMON, "type_vocab_size": 0},
    "distilbert": {"vocab_size": 40, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 16, "pad_token_id": 0},
    "electra": {**COMMON, "embedding_size": 8},
    "esm": COMMON, "ernie": COMMON, "fnet": {**COMMON, "tpu_short_seq_length": 8},
    "gemma": {**DECODER, "head_dim": 8},
    "gpt2": {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "pad_token_id": 0},
    "gpt_neo": {"vocab_size": 40, "hidden_size": 16, "num_layers": 2, "num_heads": 2, "intermediate_size": 16,
                "attention_types": [[["global", "local"], 1]], "max_position_embeddings": 32, "pad_token_id": 0},
    "gpt_neox": DECODER, "gptj": {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "rotary_dim": 4,
                                  "n_positions": 32, "pad_token_id": 0},
    "llama": DECODER, "mbart": SEQ2SEQ, "mistral": DECODER,
    "mobilebert": {**COMMON, "embedding_size": 8, "intra_bottleneck_size": 8, "num_feedforward_networks": 1},
    "modernbert": {**COMMON, "cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2},
    "mpnet": COMMON, "opt": {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
                             "ffn_dim": 16, "word_embed_proj_dim": 16, "max_position_embeddings": 32},
    "phi": DECODER, "qwen2": DECODER, "rembert": {**COMMON, "input_embedding_size": 8, "output_embedding_size": 8},
    "roberta": COMMON, "roformer": {**COMMON, "embedding_size": 16}, "squeezebert": {
        **COMMON, "embedding_size": 16, "q_groups": 1, "k_groups": 1, "v_groups": 1, "post_attention_groups": 1,
        "intermediate_groups": 1, "output_groups": 1},
    "t5": {"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 2, "num_heads": 2, "pad_token_id": 0,
           "eos_token_id": 2, "decoder_start_token_id": 0},
    "xlm-roberta": COMMON,
    "xlnet": {"vocab_size": 40, "d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 16, "pad_token_id": 0},
}
NO_HEAD_DROPOUT = {  # of transformers' sequence classifiers: one linear map of the body's last state, or a rate of it
    "bloom", "esm", "fnet", "gemma", "gpt2", "gpt_neo", "gpt_neox", "gptj", "llama", "mistral", "mpnet", "opt", "phi",
    "qwen2", "roformer", "squeezebert"}
IDS = torch.tensor([[1, 7, 9, 11, 13, 2], [1, 8, 10, 12, 14, 2]])


def made(kind: str, **rates: float) -> tuple[DictConfig, PreTrainedModel]:
    cfg = OmegaConf.create({"name": kind, "dropout": 0.0, "classifier_dropout": None, **rates})
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **SHAPES[kind], num_labels=2)
    set_dropout(config, cfg)
    return cfg, AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")


def loss(model: PreTrainedModel) -> float:
    torch.manual_seed(1)
    with torch.no_grad():
        return model.train()(input_ids=IDS, labels=torch.tensor([0, 1])).loss.item()


@pytest.mark.parametrize("kind", SHAPES)
def test_dropout_of_the_body_changes_the_training_loss(kind: str) -> None:
    losses = []
    for rate in (0.0, 0.5):
        cfg, model = made(kind, dropout=rate)
        check_dropout(cfg, model)
        losses.append(loss(model))
    assert losses[0] != losses[1]


@pytest.mark.parametrize("kind", SHAPES)
def test_dropout_before_the_head_changes_the_training_loss_or_is_refused(kind: str) -> None:
    (without, model), (cfg, dropped) = made(kind, classifier_dropout=0.0), made(kind, classifier_dropout=0.5)
    if kind in NO_HEAD_DROPOUT:
        with pytest.raises(ValueError, match=rf"model\.classifier_dropout 0\.5 has no effect on '{kind}'"):
            check_dropout(cfg, dropped)
        assert loss(model) == loss(dropped)
    else:
        check_dropout(without, model)
        check_dropout(cfg, dropped)
        assert loss(model) != loss(dropped)


def test_a_rate_that_no_module_has_is_refused() -> None:
    cfg, model = made("roberta", dropout=0.1)
    cfg.dropout = 0.3
    with pytest.raises(ValueError, match=r"model\.dropout 0\.3 has no effect on 'roberta': the body .* dropout 0\.1"):
        check_dropout(cfg, model)
