"""Matthews correlation: agreement of classes beyond chance (CoLA in table 2)."""

from typing import Any

from sklearn.metrics import matthews_corrcoef

from experiments.metrics.base import LABELS, Metric, is_constant


class Matthews(Metric):
    """Matthews correlation of classes, in [-1, 1]; 0 where predictions or references are constant."""

    columns = LABELS

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        if is_constant(predictions) or is_constant(references):
            return {self.name: 0.0}
        return {self.name: float(matthews_corrcoef(references, predictions))}
