"""Positions added to a model's input: a prefix before it, an infix after it (section 5.1; Li and Liang 2021).

Only the body of the model sees the longer rows. Tokens keep their order, their segment and their outputs: what the
body returns is cut to them, so that heads, losses and decoding need not know. A row of n tokens becomes

    padding, prefix (l_p), tokens up to `end`, infix (l_i), tokens from `end`, padding

where `end` is after the last token in an encoder. In a causal model only later tokens see the infix, so it stands
before the place of the answer: before the separator of `prompt separator target` (their [x; infix;
y]), or before the last token, which a classifier pools. Added positions are numbered like tokens: later ones move up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, StaticCache

from lora.injected import Injected, inject
from lora.limits import AFTER_PADDING, check_positions, position_limit
from lora.low_rank import has_numbers
from lora.sites import find_places

CAUSAL = ("gpt2", "llama")


@dataclass(frozen=True)
class Layout:
    """Indices of tokens and added positions in the longer rows: `places` (rows, n), `added` (rows, l_p + l_i)."""

    places: Tensor
    added: Tensor

    @classmethod
    def of(cls, first: Tensor, end: Tensor, n: int, l_p: int, l_i: int) -> "Layout":
        """The prefix stands before token `first` of each row, the infix before `end`, both (rows,), first <= end."""
        index, first, end = torch.arange(n, device=first.device), first[:, None], end[:, None]
        prefix = first + torch.arange(l_p, device=first.device)
        infix = end + l_p + torch.arange(l_i, device=first.device)
        return cls(index + l_p * (index >= first) + l_i * (index >= end), torch.cat([prefix, infix], 1))

    def spread(self, tokens: Tensor, added: Tensor) -> Tensor:
        """tokens (rows, n, ...) and added (rows, l_p + l_i, ...) in the longer rows, (rows, n + l_p + l_i, ...)."""
        values, places = torch.cat([tokens, added], 1), torch.cat([self.places, self.added], 1)
        return torch.empty_like(values).scatter(1, _like(places, values), values)

    def cut(self, longer: Tensor) -> Tensor:
        """The tokens' part of (rows, n + l_p + l_i, ...): (rows, n, ...)."""
        return longer.gather(1, _like(self.places, longer))

    def replace(self, longer: Tensor, added: Tensor) -> Tensor:
        """`longer` (rows, n + l_p + l_i, d) with `added` (l_p + l_i, d) at the added positions of every row."""
        index = _like(self.added, longer)
        return longer.scatter(1, index, added.to(longer.dtype).expand(index.shape))


def _like(index: Tensor, values: Tensor) -> Tensor:
    """index (rows, m) for every entry of values (rows, ..., *rest): (rows, m, *rest)."""
    return index.view(*index.shape, *(1,) * (values.dim() - 2)).expand(*index.shape, *values.shape[2:])


class Current:
    """The layout of the batch that is in the body; None outside of it, and where nothing is added (cached steps)."""

    def __init__(self) -> None:
        self.layout: Layout | None = None


class AddedPositions(Injected):
    """At the body of a model: lengthens its input rows and cuts its outputs.

    `vectors` (l_p + l_i, d) are the word embeddings at the added positions; None leaves zeros, to be replaced in the
    blocks. `find_end` gives each row's `end`.
    """

    def __init__(self, l_p: int, l_i: int, vectors: Tensor | None, find_end: "FindEnd") -> None:
        super().__init__()
        self.l_p, self.l_i, self.find_end = l_p, l_i, find_end
        self.current = Current()
        self.vectors = None if vectors is None else nn.Parameter(vectors)

    def before(self, host: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        assert isinstance(host, PreTrainedModel)
        given = dict(kwargs)
        if args:
            given["input_ids"], *rest = args
            if rest:
                raise TypeError(f"{type(host).__name__} with a prefix takes input_ids first and all else by name")
        past = given.get("past_key_values")
        if isinstance(past, StaticCache) and (count := self.l_p + self.l_i):
            raise ValueError(f"a {type(past).__name__} is made for the tokens and has no room for the {count} positions"
                             " that a prefix adds: generate without cache_implementation=static")
        if past is not None and (seen := past.get_seq_length()):
            self.current.layout = None
            return (), given | self._later(host.config, given, seen)
        return (), given | self._longer(host, given)

    def _later(self, config: PreTrainedConfig, given: Mapping[str, Any], seen: int) -> dict[str, Any]:
        """Mask and positions of tokens after a cache of `seen` positions, the added ones among them."""
        mask, positions = given.get("attention_mask"), given.get("position_ids")
        tokens = next(given[key] for key in ("input_ids", "inputs_embeds") if given.get(key) is not None)
        count, changes = self.l_p + self.l_i, {}
        if mask is not None:
            first, total = _first(_two_dimensional(mask)), mask.shape[1]
            if seen + tokens.shape[1] != total + count:
                raise ValueError(f"the cache holds {seen} positions, the mask is of {total - tokens.shape[1]} tokens "
                                 f"before these and {count} positions are added: it was not made with this adapter, "
                                 "or was cut")
            layout = Layout.of(first, first, total, count, 0)
            changes["attention_mask"] = layout.spread(mask, mask.new_ones(len(mask), count))
        if positions is not None:
            changes["position_ids"] = positions + count
        self._check(config, seen + tokens.shape[1], changes.get("position_ids"))
        return changes

    def _longer(self, body: PreTrainedModel, given: Mapping[str, Any]) -> dict[str, Any]:
        """All arguments of the body whose length is that of a row, and the layout they are in."""
        ids, embeds, mask = given.get("input_ids"), given.get("inputs_embeds"), given.get("attention_mask")
        if embeds is None:
            embeds = body.get_input_embeddings()(ids)
        rows, n, width = embeds.shape
        real = embeds.new_ones((rows, n), dtype=torch.bool) if mask is None else _two_dimensional(mask).bool()
        first = _first(real)
        end = torch.maximum(self.find_end(ids, real), first)
        layout = self.current.layout = Layout.of(first, end, n, self.l_p, self.l_i)
        count = self.l_p + self.l_i
        vectors = embeds.new_zeros(count, width) if self.vectors is None else self.vectors.to(embeds.dtype)
        changes = {"input_ids": None, "inputs_embeds": layout.spread(embeds, vectors.expand(rows, count, width))}
        if mask is not None:
            changes["attention_mask"] = layout.spread(mask, mask.new_ones(rows, count))
        last = torch.maximum(end - 1, first)[:, None]  # the token before the infix
        if (types := given.get("token_type_ids")) is not None:  # added positions have that of the token beside them
            beside = torch.cat([first[:, None].expand(-1, self.l_p), last.expand(-1, self.l_i)], 1)
            changes["token_type_ids"] = layout.spread(types, types.gather(1, beside))
        positions = given.get("position_ids")
        positions = _own_positions(body, ids, real) if positions is None else positions.expand(rows, n)
        changes["position_ids"] = self._numbered(body.config, layout, positions, real, first, end)
        return changes

    def _numbered(self, config: PreTrainedConfig, layout: Layout, positions: Tensor, real: Tensor, first: Tensor,
                  end: Tensor) -> Tensor:
        """Position numbers of the longer rows: those of tokens move up by what was added before them."""
        index, first, end = torch.arange(real.shape[1], device=real.device), first[:, None], end[:, None]
        moved = positions + real * (self.l_p * (index >= first) + self.l_i * (index >= end))
        start = positions.gather(1, first)
        after = positions.gather(1, torch.maximum(end - 1, first)) + (end > first) + self.l_p
        prefix, infix = (torch.arange(count, device=real.device) for count in (self.l_p, self.l_i))
        longer = layout.spread(moved, torch.cat([start + prefix, after + infix], 1))
        self._check(config, longer.shape[1], longer)
        return longer

    def _check(self, config: PreTrainedConfig, length: int, numbers: Tensor | None) -> None:
        """ValueError where rows of `length`, padding and added positions among it, go beyond the model's positions.

        `numbers` are their position numbers, which leave padding out; None where every place is counted.
        """
        limit, count = position_limit(config), self.l_p + self.l_i
        if limit is None or length <= limit:
            return
        if numbers is not None:
            if not has_numbers(numbers):
                return
            length = int(numbers.max()) + 1 - (config.max_position_embeddings - limit)  # RoBERTa's begin above 0
        check_positions(config, "an input of", length - count, count, f"l_p {self.l_p} and l_i {self.l_i}")

    def after(self, host: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        layout, self.current.layout = self.current.layout, None
        return output if layout is None else _cut(output, layout)


def _cut(output: Any, layout: Layout) -> Any:
    """Hidden states of a body's output cut to the tokens; attention maps keep their added rows and columns."""
    if isinstance(output, Tensor):
        longer = output.dim() == 3 and output.shape[1] == layout.places.shape[1] + layout.added.shape[1]
        return layout.cut(output) if longer else output
    if isinstance(output, Mapping):
        for key, value in output.items():
            output[key] = _cut(value, layout)  # type: ignore[index]
        return output
    return tuple(_cut(value, layout) for value in output) if isinstance(output, tuple) else output


class ReplacedActivations(Injected):
    """At a block: replaces the hidden states that enter it, at the added positions, by `vectors` (l_p + l_i, d)."""

    def __init__(self, vectors: Tensor, current: Current) -> None:
        super().__init__()
        self.vectors, self.current = nn.Parameter(vectors), current

    def before(self, host: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        layout, (hidden, *rest) = self.current.layout, args
        return (hidden if layout is None else layout.replace(hidden, self.vectors), *rest), kwargs


class TokensAlone(Injected):
    """At a pooler inside the body (BERT's): hands it the tokens' hidden states, so that it pools [CLS]."""

    def __init__(self, current: Current) -> None:
        super().__init__()
        self.current = current

    def before(self, host: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        hidden, *rest = args
        return (hidden if self.current.layout is None else self.current.layout.cut(hidden), *rest), kwargs


class FindEnd(Protocol):
    """Index of the token before which the infix stands in each row, (rows,); n is after the last.

    ids (rows, n) are the tokens, None where embeddings were given; real (rows, n) leaves out padding.
    """

    def __call__(self, ids: Tensor | None, real: Tensor) -> Tensor: ...


def after_last(ids: Tensor | None, real: Tensor) -> Tensor:
    """In an encoder: after the last token that is not padding."""
    return (real * torch.arange(1, real.shape[1] + 1, device=real.device)).amax(1)


@dataclass(frozen=True)
class BeforePooled:
    """In a causal classifier: before the token that transformers pools, the last that is not the padding token."""

    pad_token_id: int | None

    def __call__(self, ids: Tensor | None, real: Tensor) -> Tensor:
        pooled = torch.ones_like(real) if ids is None or self.pad_token_id is None else ids != self.pad_token_id
        return (pooled * torch.arange(real.shape[1], device=real.device)).amax(1)


@dataclass(frozen=True)
class BeforeSeparator:
    """In a causal language model: before the first token of the row that separates the prompt from the target.

    A row's first token is never it: there the same token begins the text, as a tokenizer of Llama writes it.
    """

    separator: int

    def __call__(self, ids: Tensor | None, real: Tensor) -> Tensor:
        if ids is None:
            raise ValueError("inputs_embeds do not show the separator, before which the infix stands: give input_ids, "
                             "or take l_i=0")
        inside = real & (torch.arange(real.shape[1], device=real.device) > _first(real)[:, None])
        matches = (ids == self.separator) & inside
        if has_numbers(has := matches.any(1)) and not has.all():
            raise ValueError(f"row {int(has.logical_not().nonzero()[0])} of the batch has no separator (token "
                             f"{self.separator}) after its first token, before which the infix stands: end prompts "
                             "with it and give them whole (no prefill_chunk_size), name another by method.separator, "
                             "or take l_i=0")
        return matches.int().argmax(1)


def _first(real: Tensor) -> Tensor:
    """Index of the first token of each row that is not padding; 0 in a row of padding."""
    return real.int().argmax(1)


def _two_dimensional(mask: Tensor) -> Tensor:
    if mask.dim() != 2:
        raise ValueError(f"an attention mask of {mask.dim()} dimensions cannot be made longer for a prefix: give one "
                         "of (rows, tokens), and generate with the default cache")
    return mask


def _own_positions(body: PreTrainedModel, ids: Tensor | None, real: Tensor) -> Tensor:
    """The position numbers that the body gives its tokens where none are given, (rows, n)."""
    index = torch.arange(real.shape[1], device=real.device).expand(real.shape)
    if body.config.model_type not in AFTER_PADDING:
        return index
    padding: int = body.embeddings.padding_idx  # type: ignore[union-attr, assignment]
    if ids is None:
        return index + padding + 1
    return (ids != padding).cumsum(1) * (ids != padding) + padding


def separator_of(config: PreTrainedConfig) -> int | None:
    """The token between prompt and target as tasks have it: beginning or end of text, or None without either."""
    return config.eos_token_id if config.bos_token_id is None else config.bos_token_id


def add_positions(model: PreTrainedModel, adapter: str, positions: AddedPositions) -> None:
    """Put `positions` at the model's body, and hide them from a pooler inside it."""
    place = model.base_model_prefix
    inject(model, place, adapter, positions)
    if getattr(model.get_submodule(place), "pooler", None) is not None:
        inject(model, f"{place}.pooler", adapter, TokensAlone(positions.current))


def block_entries(model: PreTrainedModel) -> list[str]:
    """The places where hidden states enter each block, as their first argument: (L,) module names.

    An encoder's first block is entered where the encoder is: DeBERTa-v2's convolution reads what enters there, too.
    """
    first, *others = find_places(model, "block")
    around = first.rsplit(".", 2)[0]
    return [first if around == model.base_model_prefix else around, *others]
