"""The places of W_q, W_k, W_v, W_o, W_fc1 and W_fc2 in each architecture, of the ends of its blocks and sub-layers, and
of the task head.

A target is a role of the table (`q k v o fc1 fc2`) or, for any architecture, the name of a module or a glob over
module names (`*.attention.wq`), recognised by a `*` or a dot.
"""

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedConfig
from transformers.pytorch_utils import Conv1D

from lora.errors import check_choice, nearest
from lora.injected import adapter_of
from lora.low_rank import Part

ROLES = ("q", "k", "v", "o", "fc1", "fc2")
Modules = Mapping[str, tuple[str, ...]]

_BERT: Modules = {
    "q": ("layer.*.attention.self.query",), "k": ("layer.*.attention.self.key",),
    "v": ("layer.*.attention.self.value",), "o": ("layer.*.attention.output.dense",),
    "fc1": ("layer.*.intermediate.dense",), "fc2": ("layer.*.output.dense",),
}
_DEBERTA_V2: Modules = {**_BERT, **{role: (f"layer.*.attention.self.{name}_proj",)
                                for role, name in (("q", "query"), ("k", "key"), ("v", "value"))}}
_DEBERTA: Modules = {**_BERT, **dict.fromkeys("qkv", ("layer.*.attention.self.in_proj",))}
_GPT2: Modules = {
    **dict.fromkeys("qkv", ("h.*.attn.c_attn",)),
    "o": ("h.*.attn.c_proj",), "fc1": ("h.*.mlp.c_fc",), "fc2": ("h.*.mlp.c_proj",)}
_LLAMA: Modules = {
    **{role: (f"layers.*.self_attn.{role}_proj",) for role in "qkvo"},
    "fc1": ("layers.*.mlp.gate_proj", "layers.*.mlp.up_proj"), "fc2": ("layers.*.mlp.down_proj",)}

# config.model_type -> where each role lives, below the layer list; `*` is the layer's number
ARCHITECTURES: dict[str, Modules] = {
    "bert": _BERT, "roberta": _BERT, "deberta": _DEBERTA, "deberta-v2": _DEBERTA_V2, "gpt2": _GPT2, "llama": _LLAMA}

PLACES = ("attention", "mlp", "mlp_norm", "block")
_POST_NORM: Modules = {
    "attention": ("layer.*.attention.output.dropout",), "mlp": ("layer.*.output.dropout",),
    "mlp_norm": ("layer.*.output.LayerNorm",), "block": ("layer.*",)}

# config.model_type -> the module whose output ends each place of a block. attention and mlp: the sub-layer, before
# its residual is added; mlp_norm: the LayerNorm of that sum, which pre-norm architectures have not; block: all of it
BLOCKS: dict[str, Modules] = {
    **dict.fromkeys(("bert", "roberta", "deberta", "deberta-v2"), _POST_NORM),
    "gpt2": {"attention": ("h.*.attn.resid_dropout",), "mlp": ("h.*.mlp.dropout",), "mlp_norm": (), "block": ("h.*",)},
    "llama": {"attention": ("layers.*.self_attn",), "mlp": ("layers.*.mlp",), "mlp_norm": (), "block": ("layers.*",)}}

POOLER = "pooler"  # transformers' name of the module that makes one vector of a text's hidden states
LAYER_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")  # a component of a module's name
# config.model_type of the models with layers that are transformers' Conv1D, which keep W as (n_in, n_out)
CONV1D = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer", "clvp")


@dataclass(frozen=True)
class Site:
    """One frozen matrix: the module that holds it, the part of its outputs, and its role."""

    role: str
    module: str
    part: Part


def find_sites(model: nn.Module, targets: Sequence[str], heads: Sequence[str] = ()) -> list[Site]:
    """The sites of `model` that `targets` (roles or globs) name, in the model's order of modules.

    A glob leaves out the modules `heads` (see head_modules), which train as a whole and need no low-rank update.
    """
    if not targets:
        raise ValueError(f"targets is empty: name any of {', '.join(ROLES)}, or globs over module names")
    names = list(dict.fromkeys(name.removesuffix(".base") for name, module in model.named_modules()
                               if isinstance(module, nn.Linear | Conv1D) and adapter_of(name) is None))
    sites = [site for target in dict.fromkeys(targets) for site in _find(model, target, names, heads)]
    order = {name: place for place, name in enumerate(names)}
    return sorted(sites, key=lambda site: order[site.module])


def _find(model: nn.Module, target: str, names: list[str], heads: Sequence[str]) -> list[Site]:
    if "*" in target or "." in target or (target in names and target not in ROLES):
        matches = [name for name in names if fnmatch.fnmatchcase(name, target)]
        if not matches:
            raise ValueError(f"pattern {target!r} matches no dense module; the model has {', '.join(_shapes(names))}")
        head = tuple(f"{name}." for name in heads)
        body = [name for name in matches if not f"{name}.".startswith(head)]
        if not body:
            raise ValueError(f"pattern {target!r} matches only the task head, which trains whole: {', '.join(matches)}")
        return [Site("weight", name, Part()) for name in body]
    architecture = _config(model).model_type
    if target not in ROLES:
        raise ValueError(f"target {target!r} is not one of {', '.join(ROLES)}, nor a pattern with '*' or '.'"
                         f"{nearest(str(target), ROLES)}")
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture {architecture!r} is not one of {', '.join(ARCHITECTURES)}: give targets as "
                         f"patterns over its modules, {', '.join(_shapes(names))}")
    matches = [name for name in names if _lives_in(name, ARCHITECTURES[architecture][target])]
    if not matches:
        raise ValueError(f"role {target!r} matches no module of this {architecture} model; "
                         f"the model has {', '.join(_shapes(names))}")
    return [Site(target, name, _part(model, target)) for name in matches]


def find_places(model: nn.Module, place: str) -> list[str]:
    """The module that ends `place` (one of PLACES) in each block, from the first to the last; empty where none does."""
    check_choice("place", place, PLACES)
    check_choice("architecture", architecture := str(_config(model).model_type), BLOCKS)
    return [name for name, _ in model.named_modules()
            if adapter_of(f"{name}.") is None and _lives_in(name, BLOCKS[architecture][place])]


def _lives_in(module: str, places: Iterable[str]) -> bool:
    """True where a module's name ends in one of a role's places, with a number for each `*`."""
    return any(re.fullmatch(r"(.*\.)?" + re.escape(place).replace(r"\*", r"\d+"), module) for place in places)


def sites_by_name(module: str) -> list[Site]:
    """The matrices of a module, derived from its name alone: empty where no architecture has such a module.

    GPT-2's c_attn holds three: q, k and v. DeBERTa's in_proj gives none, since its parts depend on the number of heads.
    """
    if _lives_in(module, _DEBERTA["q"]):
        return []
    roles = [role for role in ROLES if any(_lives_in(module, places[role]) for places in ARCHITECTURES.values())]
    return [Site(role, module, Part(parts=len(roles), index=index)) for index, role in enumerate(roles)]


def stored_transposed(module: str) -> bool:
    """True where a module of this name stores its weight as (n_in, n_out): those of GPT-2 are transformers' Conv1D."""
    return any(_lives_in(module, places) for places in _GPT2.values())


def layer_number(module: str) -> int | None:
    """Number of the layer that a module is in, the first number in its name; None outside the layers."""
    match = LAYER_NUMBER.search(module)
    return int(match[0]) if match else None


def same_but_for_prefix(first: str, second: str) -> bool:
    """True where names are equal but for a prefix of one before the layers, such as roberta. or transformer.."""
    shorter, longer = sorted((first, second), key=len)
    return f".{longer}".endswith(f".{shorter}") and layer_number(shorter) == layer_number(longer)


def _part(model: nn.Module, role: str) -> Part:
    """The part of its module's outputs that belongs to a role; only GPT-2 and DeBERTa fuse q, k and v."""
    config = _config(model)
    if role in "qkv" and config.model_type == "gpt2":
        return Part(parts=3, index="qkv".index(role))
    if role in "qkv" and config.model_type == "deberta":
        return Part(groups=config.num_attention_heads, parts=3, index="qkv".index(role))
    return Part()


def _config(model: nn.Module) -> PreTrainedConfig:
    return model.config  # type: ignore[return-value]


def _shapes(names: Iterable[str]) -> list[str]:
    """Module names with layer numbers as `*`, each once."""
    return list(dict.fromkeys(re.sub(r"\b\d+\b", "*", name) for name in names))


def head_modules(model: nn.Module, pooler: str) -> list[str]:
    """Names of the modules that are the task head: trained with every method, counted apart.

    The head of a classifier is every module beside the base model, such as DistilBERT's pre_classifier and classifier;
    `pooler` says whether a pooler belongs to it ("train") or stays frozen ("frozen"). A base model alone and a language
    model have no head.
    """
    check_choice("pooler", pooler, ("train", "frozen"))
    children, base = dict(model.named_children()), getattr(model, "base_model_prefix", "")
    if base not in children or model.get_output_embeddings() is not None:  # type: ignore[operator]
        return []
    beside = [name for name, module in children.items()
              if name not in (base, POOLER) and next(module.parameters(), None) is not None]
    return beside + (poolers(model) if pooler == "train" else [])


def poolers(model: nn.Module) -> list[str]:
    """The layers with weights of the pooler that a classifier has in its base model or beside it, such as BERT's."""
    places = (f"{POOLER}.", f"{getattr(model, 'base_model_prefix', '')}.{POOLER}.")
    return list(dict.fromkeys(
        name.removesuffix(".base") for name, module in model.named_modules() if f"{name}.".startswith(places)
        and adapter_of(f"{name}.") is None and next(module.parameters(recurse=False), None) is not None))
