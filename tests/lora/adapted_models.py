"""Tiny random models, the same weights each time, with adapters whose every tensor is away from its start."""

from functools import cache

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DebertaConfig,
    DebertaForSequenceClassification,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from lora import BitFit, FullFineTuning, LoRA, Method
from tests.conftest import ROOT

_BODY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32,
         "vocab_size": 40, "max_position_embeddings": 20, "type_vocab_size": 2, "hidden_dropout_prob": 0.0,
         "attention_probs_dropout_prob": 0.0, "num_labels": 3}
_GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 20, "vocab_size": 40, "bos_token_id": 0,
         "eos_token_id": 0, "pad_token_id": 0, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
_DISENTANGLED = _BODY | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "pooler_dropout": 0.0,
                         "pooler_hidden_size": 16}


def model(kind: str, seed: int = 0) -> PreTrainedModel:
    """bert, roberta, deberta, deberta-v2 or gpt2 with three labels, or gpt2-lm; in eval mode."""
    torch.manual_seed(seed)
    if kind == "bert":
        made: PreTrainedModel = BertForSequenceClassification(BertConfig(**_BODY))
    elif kind == "roberta":
        made = RobertaForSequenceClassification(RobertaConfig(**_BODY))
    elif kind == "deberta":
        made = DebertaForSequenceClassification(DebertaConfig(**_DISENTANGLED))
    elif kind == "deberta-v2":
        made = DebertaV2ForSequenceClassification(DebertaV2Config(**_DISENTANGLED))
    elif kind == "gpt2":
        made = GPT2ForSequenceClassification(GPT2Config(**_GPT2, num_labels=3))
    else:
        made = GPT2LMHeadModel(GPT2Config(**_GPT2, initializer_range=0.2))  # wide enough for attention to matter
    return made.eval()


def method(word: str = "lora", **fields: object) -> Method:
    """A method by its word; alpha / rank is not 1, so that a forgotten scaling shows."""
    if word == "lora":
        given = {"rank": 2, "alpha": 6, "dropout": 0.0, "targets": ["q", "v"], "init": "kaiming",
                 "bias": "none", "rank_stabilised": False, "dora": False, "learning_rate_scale_B": None,
                 "layernorm": False, "position_query": True}
        return LoRA(name="lora", **given | fields)  # type: ignore[arg-type]
    return {"bitfit": BitFit, "ft": FullFineTuning}[word](name=word)


def adapted(kind: str, made: Method, pooler: str = "train", adapter: str = "default") -> PreTrainedModel:
    """A tiny model with `made` applied and everything that it trains moved away from its start."""
    tiny = model(kind)
    add(tiny, made, pooler, adapter)
    return tiny


def add(to: PreTrainedModel, made: Method, pooler: str = "train", adapter: str = "default") -> None:
    """Apply `made` and move everything that it trains away from its start."""
    groups = made.apply(to, pooler=pooler, adapter=adapter)
    disturb([p for group in groups for p in group.parameters.values()])


@torch.no_grad()
def disturb(parameters: list[nn.Parameter]) -> None:
    for parameter in parameters:
        parameter += 0.3 * torch.randn_like(parameter)


def rows() -> Tensor:
    """Three fixed rows of seven tokens; the fourth is 5 in each, a separator for what needs one."""
    ids = torch.arange(21).view(3, 7) % 39 + 1
    ids[:, 3] = 5
    return ids


@torch.no_grad()
def logits(of: nn.Module) -> Tensor:
    """Outputs for the three rows."""
    ids = rows()
    return of(input_ids=ids, attention_mask=torch.ones_like(ids)).logits

SMALL = {"adapter_h": ["bottleneck=4"], "adapter_l": ["bottleneck=4"], "adapter_p": ["bottleneck=4"],
         "adapter_d": ["bottleneck=4", "dropped_layers=1"], "ft_top2": ["blocks=1"],
         "prefix_embed": ["l_p=3", "l_i=2", "separator=5"], "prefix_layer": ["l_p=3", "l_i=2", "separator=5"],
         **{f"lora+{word}": ["parts.lora.rank=2", f"parts.{word}.l_p=3", f"parts.{word}.l_i=2",
                             f"parts.{word}.separator=5"] for word in ("prefix_embed", "prefix_layer")}}


@cache
def _small(word: str) -> DictConfig:
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        return compose(overrides=[f"+method={word}", *(f"method.{change}" for change in SMALL.get(word, ()))]).method


def small_method(word: str) -> Method:
    """A method of conf/method with few parameters."""
    return instantiate(_small(word))
