"""Loss and perplexity of a language model, per target token (the best epoch of GPT-2 is chosen by it)."""

from typing import Any

import numpy as np

from experiments.metrics.base import NUMBERS, Metric


class Loss(Metric):
    """Nats per target token of all rows together, from 0; lower is better.

    A row's prediction is the negative log-likelihood of its target, its reference the target's number of tokens.
    """

    columns = NUMBERS
    scale = 1

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {self.name: float(np.sum(predictions) / np.sum(references))}


class Perplexity(Metric):
    """exp of the loss per target token, from 1; infinite where that overflows; lower is better."""

    columns = NUMBERS
    scale = 1

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        with np.errstate(over="ignore"):
            return {self.name: float(np.exp(np.sum(predictions) / np.sum(references)))}
