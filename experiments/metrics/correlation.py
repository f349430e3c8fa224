"""Pearson and Spearman correlation (STS-B in table 2 prints Pearson)."""

from typing import Any

from scipy.stats import pearsonr, spearmanr

from experiments.metrics.base import NUMBERS, Metric, is_constant


class Pearson(Metric):
    """Linear correlation, in [-1, 1]; 0 where predictions or references are constant."""

    columns = NUMBERS

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        if is_constant(predictions) or is_constant(references):
            return {self.name: 0.0}
        return {self.name: float(pearsonr(predictions, references).statistic)}


class Spearman(Metric):
    """Correlation of ranks, in [-1, 1]; 0 where predictions or references are constant."""

    columns = NUMBERS

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        if is_constant(predictions) or is_constant(references):
            return {self.name: 0.0}
        return {self.name: float(spearmanr(predictions, references).statistic)}
