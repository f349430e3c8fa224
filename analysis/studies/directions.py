"""The directions of an update that studies compare: those that it determines, and a word where some are left out."""

import torch
from torch import Tensor

from analysis.adapters.updates import Problem, Update
from analysis.linalg.similarity import left_singular, right_singular
from analysis.linalg.singular import determined, numerical_rank, update_svd

WHICH = {"A": "the right singular vectors of A", "B": "the left singular vectors of B",
         "dW": "the right singular vectors of ΔW"}


def directions(update: Update, which: str) -> Tensor:
    """Orthonormal directions of an update (d, rank), without those whose singular value is zero to rounding."""
    if which == "dW":
        return determined(update_svd(update.A, update.B)).V
    if which == "A":
        V, S = right_singular(update.A), torch.linalg.svdvals(update.A.double())
    else:
        V, S = left_singular(update.B), torch.linalg.svdvals(update.B.double())
    return V[:, :numerical_rank(S)]


def left_out(update: Update, what: str, count: int) -> list[Problem]:
    """A problem where `what` of an update ("a's B", "ΔW") has fewer directions, `count`, than its rank."""
    if count >= update.rank:
        return []
    return [Problem(update.label, f"{what} has {count} directions: the other {update.rank - count} are zero to "
                                  "rounding, and left out")]
