"""Every number of a heat map of phi(i, j), as a table."""

from collections.abc import Sequence
from typing import Protocol

import pandas as pd
import torch
from torch import Tensor

from analysis.linalg.similarity import expected_similarity


class Compared(Protocol):
    """A site whose phi is drawn."""

    @property
    def layer(self) -> int | None: ...
    @property
    def role(self) -> str: ...
    @property
    def d(self) -> int: ...
    @property
    def phi(self) -> Tensor: ...


def phi_table(drawn: Sequence[Compared]) -> pd.DataFrame:
    """Every number of a heat map: layer, role, i, j, phi, and what chance gives."""
    frames = []
    for each in drawn:
        rank1, rank2 = each.phi.shape
        i, j = torch.meshgrid(torch.arange(1, rank1 + 1), torch.arange(1, rank2 + 1), indexing="ij")
        chance = expected_similarity(rank1, rank2, each.d)
        frames.append(pd.DataFrame({"layer": each.layer, "role": each.role, "i": i.flatten(), "j": j.flatten(),
                                    "phi": each.phi.flatten().round(decimals=5),
                                    "chance": chance.flatten().round(decimals=5)}))
    return pd.concat(frames, ignore_index=True).astype({"layer": "Int64"})
