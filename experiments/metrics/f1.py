"""F1: harmonic mean of precision and recall (printed beside accuracy for MRPC and QQP)."""

from typing import Any

from sklearn.metrics import f1_score

from experiments.metrics.base import LABELS, Metric


class F1(Metric):
    """F1 of class 1 of two, in [0, 1]; 0 where there is no true positive."""

    columns = LABELS

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        if not {*predictions, *references} <= {0, 1}:
            raise ValueError("f1 is for two classes, 0 and 1; use macro_f1 for more")
        return {self.name: float(f1_score(references, predictions, zero_division=0))}


class MacroF1(Metric):
    """Unweighted mean over the classes that occur of each one's F1, in [0, 1]."""

    columns = LABELS

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {self.name: float(f1_score(references, predictions, average="macro", zero_division=0))}
