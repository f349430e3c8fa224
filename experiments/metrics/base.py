"""The base of the metrics: integer or real columns, nothing on disk; and the test for a constant column."""

import datasets
import evaluate
import numpy as np
from numpy.typing import ArrayLike

LABELS, NUMBERS = (
    datasets.Features({"predictions": datasets.Value(kind), "references": datasets.Value(kind)})
    for kind in ("int64", "float64")
)


class Metric(evaluate.Metric):
    """A metric of (predictions, references), kept in memory; a subclass adds `columns` and `_compute`."""

    columns: datasets.Features  # LABELS or NUMBERS
    scale: int = 100  # the paper prints shares in percent

    def __init__(self) -> None:
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.__doc__ or "",
            citation="",
            inputs_description="predictions and references: one value a row",
            features=self.columns,
        )

    def _build_data_dir(self) -> str:
        """No folder: `evaluate` would make one under the home directory, which may not be writable."""
        return ""


def is_constant(values: ArrayLike) -> bool:
    """True if all values are equal, to 1e-9 of their size (float32 values that differ do so by more)."""
    array = np.asarray(values, dtype=np.float64)
    return bool(np.ptp(array) <= 1e-9 * np.abs(array).max())
