"""The dropout rates of a base model: `model.dropout` in its body and `model.classifier_dropout` in its head.

Architectures have many names for them, and some have a name that no module reads. So every field of the config whose
name is one of a rate is set, and the modules that were made of it are asked for their rates.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from omegaconf import DictConfig

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel

HEAD = re.compile(r"((seq_)?classif\w*|cls)_dropout(_prob|_rate)?|summary_(first|last)_dropout")
OTHER = re.compile(r"layer_?drop|pooler_dropout|qa_dropout|token_dropout")  # of whole layers, tokens or other tasks
ALWAYS = ("cls_dropout", "classifier_dropout")  # are read by some architectures whose config does not list them


def body_fields(names: Iterable[str]) -> list[str]:
    """The fields of a config that are dropout rates of the body: hidden_dropout_prob, attn_pdrop, dropout_rate, ..."""
    return [name for name in names if re.search("dropout|pdrop", name)
            and not HEAD.fullmatch(name) and not OTHER.search(name)]


def set_dropout(config: PreTrainedConfig, cfg: DictConfig) -> None:
    """Set the rates of `cfg`, one file of conf/model, that are not null."""
    for part in {id(part): part for part in (config, config.get_text_config())}.values():
        names = list(part.to_dict())
        if cfg.dropout is not None:
            for name in body_fields(names):
                setattr(part, name, cfg.dropout)
        if cfg.classifier_dropout is not None:
            for name in (*ALWAYS, *filter(HEAD.fullmatch, names)):
                setattr(part, name, cfg.classifier_dropout)


def check_dropout(cfg: DictConfig, model: PreTrainedModel) -> None:
    """Raise ValueError for a rate of `cfg` that no module of the model has."""
    body = set(model.base_model.modules())
    parts = {"dropout": body, "classifier_dropout": [module for module in model.modules() if module not in body]}
    for key, modules in parts.items():
        rate, rates = cfg[key], set(_rates(modules))
        if rate is None or rate in rates or (rate == 0 and not any(rates)):
            continue
        place = "body" if key == "dropout" else "head"
        raise ValueError(f"model.{key} {rate} has no effect on {cfg.name!r}: the {place} of this "
                         f"{model.config.model_type} model has {_words(rates)}; leave model.{key}=null")


def _rates(modules: Iterable[nn.Module]) -> Iterator[float]:
    """The rates of dropout modules, and of modules that call the function with one of their numbers."""
    from torch.nn.modules.dropout import _DropoutNd

    for module in modules:
        if isinstance(module, _DropoutNd):
            yield module.p
        yield from (value for name, value in vars(module).items()
                    if "drop" in name and not OTHER.search(name) and type(value) in (int, float))


def _words(rates: set[float]) -> str:
    return f"dropout {', '.join(map(str, sorted(rates)))} that cannot be set" if any(rates) else "no dropout"
