"""One low-rank update with its place in the model, made from stored tensors or refused by naming the tensor.

    dW (n_part, n_in) = scaling * B A,  A (rank, n_in),  B (n_part, rank), in fp32 or wider

An update belongs to one matrix: of a fused projection's module (GPT-2's c_attn) to one part of its outputs.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from torch import Tensor

from lora.low_rank import Part, wide
from lora.pair_file import check_real
from lora.sites import LAYER_NUMBER, ROLES, Site, layer_number, same_but_for_prefix, sites_by_name


@dataclass(frozen=True)
class Problem:
    """A site that is not in the study, or not as it was asked for, and the reason."""

    site: str
    message: str

    def __str__(self) -> str:
        return f"{self.site}: {self.message}"


@dataclass(frozen=True)
class Named:
    """A stored tensor and its name in the file; the tensor is None where the file lacks it."""

    name: str
    tensor: Tensor | None


@dataclass(frozen=True)
class Update:
    """dW = scaling * B A of one matrix. `layer` is None outside the layers; `scaling` is None where no alpha is known.

    `role` is q, k, v, o, fc1 or fc2, or where the name of the module tells none, that name with `*` for the layer.
    """

    layer: int | None
    role: str
    module: str
    part: Part
    A: Tensor
    B: Tensor
    scaling: float | None
    transposed: bool | None = None  # whether the base keeps W as (n_in, n_out); None: not known

    @property
    def rank(self) -> int:
        return len(self.A)

    @property
    def word(self) -> str:
        """Last word of the module's name: tells apart the two fc1 of a Llama layer, gate_proj and up_proj."""
        return self.module.rpartition(".")[2]

    @property
    def site(self) -> tuple[int | None, str, str]:
        """Its key among the adapter's updates."""
        return self.layer, self.role, self.word

    def same_matrix(self, other: "Update") -> bool:
        """True where another adapter's update is of this matrix: their modules differ in a prefix at most."""
        whole = self.part.parts == other.part.parts == 1
        return same_but_for_prefix(self.module, other.module) and (whole or self.role == other.role)

    @property
    def label(self) -> str:
        """The site for people: its module, and its role where the module is not the whole of it."""
        return self.module if self.part.parts == 1 else f"{self.module} ({self.role})"


def checked(A: Named, B: Named, stacked: bool = False) -> tuple[Tensor, Tensor]:
    """A and B of a pair in fp32 or wider, or ValueError naming what is wrong with which.

    `stacked` allows an A that holds several parts of B's rank, as loralib.MergedLinear's does.
    """
    for this, other in ((A, B), (B, A)):
        if this.tensor is None:
            raise ValueError(f"tensor {other.name} is there without {this.name}")
        check_real(f"tensor {this.name}", this.tensor)
        if this.tensor.dim() != 2:
            raise ValueError(f"tensor {this.name} is {tuple(this.tensor.shape)}, no matrix")
        if not this.tensor.isfinite().all():
            raise ValueError(f"tensor {this.name} holds NaN or infinite values")
    assert A.tensor is not None
    assert B.tensor is not None
    of_A, of_B = A.tensor.shape[0], B.tensor.shape[1]
    if of_B == 0 or (of_A % of_B if stacked else of_A != of_B):
        raise ValueError(f"tensors {A.name} {tuple(A.tensor.shape)} and {B.name} {tuple(B.tensor.shape)} "
                         "have no common rank")
    for this in (A, B):
        if not this.tensor.any():  # type: ignore[union-attr]
            raise ValueError(f"tensor {this.name} is zero: this site is untrained")
    if of_A == of_B and not trained(A.tensor, B.tensor):
        raise ValueError(f"tensors {A.name} and {B.name} have a product of zero: this site is untrained")
    return wide(A.tensor), wide(B.tensor)


def trained(A: Tensor, B: Tensor) -> bool:
    """True where B A differs from zero."""
    return bool((A.any(dim=1) & B.any(dim=0)).any())


def of_site(site: Site, A: Tensor, B: Tensor, scaling: float | None) -> Update:
    """The update of a matrix that is known."""
    return Update(layer_number(site.module), site.role, site.module, site.part, A, B, scaling)


def of_module(module: str, A: Tensor, B: Tensor, scaling: float | None) -> list[Update]:
    """The updates of a module that was adapted whole: one, or those of the parts of a fused projection.

    Parts share A, but for directions whose B is zero in a part: those of a block update belong to one part each.
    """
    sites = sites_by_name(module)
    if len(sites) == 1:
        return [of_site(sites[0], A, B, scaling)]
    if not sites or len(B) != len(sites) * A.shape[1]:
        return [of_site(Site(_starred(module), module, Part()), A, B, scaling)]
    parts = []
    for site, rows in zip(sites, B.chunk(len(sites)), strict=True):       # (n_part, rank)
        used = rows.any(dim=0) & A.any(dim=1)                             # (rank,)
        if used.any():
            parts.append(of_site(site, A[used], rows[:, used], scaling))
    return parts


def _starred(module: str) -> str:
    """A module's name with `*` for the number of its layer."""
    return LAYER_NUMBER.sub("*", module, count=1)


def in_order(updates: Iterable[Update]) -> list[Update]:
    """By layer and role, each site once: where an encoder and a decoder share one, the module's name is the role."""
    updates = list(updates)
    count = Counter(update.site for update in updates)
    unique = [update if count[update.site] == 1 else replace(update, role=_starred(update.module))
              for update in updates]
    places = {role: place for place, role in enumerate(ROLES)}
    return sorted(unique, key=lambda u: (u.layer is None, u.layer, places.get(u.role, len(ROLES)), u.role, u.word))
