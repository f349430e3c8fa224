"""Accuracy: the share of rows whose class is right (MNLI, SST-2, MRPC, QNLI, QQP, RTE in table 2)."""

from typing import Any

from sklearn.metrics import accuracy_score

from experiments.metrics.base import LABELS, Metric


class Accuracy(Metric):
    """Share of rows whose class is right, in [0, 1]."""

    columns = LABELS

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {self.name: float(accuracy_score(references, predictions))}
