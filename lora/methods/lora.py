"""LoRA: W0 stays frozen, dW = scaling * B A trains beside it (section 4.1); its descendants are options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from lora.errors import check_choice, check_number, check_whole
from lora.layer import AdaptedDense
from lora.methods.base import Method, ParameterGroup
from lora.sites import Site, find_sites

BIASES = ("none", "sites", "all")


@dataclass(frozen=True, kw_only=True)
class LoRA(Method):
    """Low-rank updates on the matrices that `targets` name.

    rank and alpha are one number, or one by target ({q: 8, v: 4}); a glob among the targets leaves the task head
    out. `bias` trains biases beside the updates: those of the adapted modules (sites) or of the whole body (all);
    `layernorm` trains every LayerNorm (section 8, "future work"). `position_query` is for DeBERTa-v2: False leaves
    the position query on W0 as the authors' code does, which cannot be merged or routed. init=pissa and `dora` change
    what is trained (lora.low_rank); `learning_rate_scale_B`, if not None, is B's learning rate as a multiple of the
    run's (LoRA+, Hayou et al. 2024, arXiv 2402.12354).
    """

    rank: int | Mapping[str, int]
    alpha: float | Mapping[str, float]
    dropout: float
    targets: Sequence[str]
    init: str
    rank_stabilised: bool
    dora: bool
    learning_rate_scale_B: float | None
    bias: str
    layernorm: bool
    position_query: bool

    def __post_init__(self) -> None:
        check_choice("bias", self.bias, BIASES)
        if isinstance(self.targets, str):
            raise ValueError(f"targets {self.targets!r} is not a list: write [{','.join(self.targets)}]")
        if not isinstance(self.targets, Sequence) or not all(isinstance(target, str) for target in self.targets):
            raise ValueError(f"targets {self.targets!r} is not a list of words")
        for name in ("rank", "alpha"):
            if isinstance(by_target := getattr(self, name), Mapping):
                for target in self.targets:
                    check_choice(f"{name} for target", target, by_target)
                for target in by_target:
                    check_choice(f"target of {name}", target, self.targets)
        for name, value in _by_target("rank", self.rank):
            check_whole(name, value, 1)
        for name, value in _by_target("alpha", self.alpha):
            check_number(name, value, above=0)
        check_number("dropout", self.dropout, least=0, below=1)
        if self.learning_rate_scale_B is not None:
            check_number("learning_rate_scale_B", self.learning_rate_scale_B, above=0)
        for name in ("rank_stabilised", "dora", "layernorm", "position_query"):
            if not isinstance(value := getattr(self, name), bool):
                raise ValueError(f"{name} {value!r} is not true or false")

    def inject(self, model: nn.Module, adapter: str, heads: Sequence[str]) -> None:
        sites = [(site, target) for target in dict.fromkeys(self.targets)
                 for site in find_sites(model, [target], heads)]
        for site, target in sites:
            self._add(model, adapter, site, target)
        if not self.position_query:
            _separate_position_query(model)

    def _add(self, model: nn.Module, adapter: str, site: Site, target: str) -> None:
        layer = model.get_submodule(site.module)
        if not isinstance(layer, AdaptedDense):
            places = [name for name, module in model.named_modules(remove_duplicate=False) if module is layer]
            layer = AdaptedDense(layer)
            for place in places:  # a module that stands in several places is adapted in all
                model.set_submodule(place, layer)
        try:
            layer.add(adapter, site.role, site.part, rank=_for(self.rank, target), alpha=_for(self.alpha, target),
                      dropout=self.dropout, init=self.init, rank_stabilised=self.rank_stabilised, dora=self.dora,
                      content_only=not self.position_query)
        except ValueError as error:
            raise ValueError(f"{site.module} ({site.role}): {error}") from None

    def in_place(self, model: nn.Module, body: dict[str, nn.Parameter]) -> list[str]:
        sites = {site.module for site in find_sites(model, self.targets)}  # those in the head are not in `body`
        # by name: DeBERTa's and Llama's norms are classes of their own
        norms = {name for name, module in model.named_modules() if type(module).__name__.endswith("Norm")}
        biases = {name for name in body if name.endswith("bias")
                  and (self.bias == "all" or (self.bias == "sites" and name.rpartition(".")[0] in sites))}
        if self.bias != "none" and not biases:
            kind = model.config.model_type  # type: ignore[union-attr]
            raise ValueError(f"bias={self.bias}: this {kind} model has no such biases to train")
        return [name for name in body if name in biases or (self.layernorm and name.rpartition(".")[0] in norms)]

    def groups(self, trained: dict[str, nn.Parameter]) -> list[ParameterGroup]:
        if self.learning_rate_scale_B is None:
            return super().groups(trained)
        B = {name: p for name, p in trained.items() if ".updates." in name and name.endswith(".B")}
        rest = {name: p for name, p in trained.items() if name not in B}
        return [ParameterGroup(self.name, rest), ParameterGroup(f"{self.name} B", B, self.learning_rate_scale_B)]

    def merge_refusal(self) -> str | None:
        if self.position_query:
            return None
        return ("position_query=false cannot be merged: the position query needs W0 while the content query needs "
                "W0 + dW, of one matrix; train with position_query=true to merge")

    def route_refusal(self) -> str | None:
        if self.position_query:
            return None
        return "position_query=false cannot be routed: the position query has no rows of the batch to tell apart"


def _by_target(name: str, value: object) -> list[tuple[str, Any]]:
    """(description, number) of one value, or of each value of a mapping by target."""
    if not isinstance(value, Mapping):
        return [(name, value)]
    return [(f"{name} for target {target!r}", number) for target, number in value.items()]


def _for(value: float | Mapping[str, float], target: str) -> float:
    return value[target] if isinstance(value, Mapping) else value


def _separate_position_query(model: nn.Module) -> None:
    """Make DeBERTa-v2, which projects content and positions with one W_q, skip content-only updates for positions."""
    attentions = [module for module in model.modules()
                  if hasattr(module, "disentangled_attention_bias") and hasattr(module, "query_proj")]
    if not attentions:
        raise ValueError("position_query=false is for DeBERTa-v2 models: this one has no query shared with positions")
    for attention in attentions:
        if isinstance(attention.query_proj, AdaptedDense):
            # the bias is where positions are projected; no hook of the module tells this call from the content's
            attention.disentangled_attention_bias = partial(  # type: ignore[assignment]
                _position_bias, attention, attention.query_proj)


def _position_bias(attention: nn.Module, query: AdaptedDense, *args: Tensor, **kwargs: Tensor) -> Tensor:
    """The class's disentangled_attention_bias without the content-only updates of the query."""
    with query.leaving_out(lambda update: update.content_only):
        return type(attention).disentangled_attention_bias(attention, *args, **kwargs)  # type: ignore[attr-defined]
