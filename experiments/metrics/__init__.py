"""The metrics that a task may name, by task kind; each is an `evaluate.Metric` that fetches nothing.

The classes are imported when first used: `evaluate` takes seconds to import.
"""

from numpy.typing import ArrayLike

from lora.errors import check_choice

METRICS: dict[str, dict[str, str]] = {
    "classification": {
        "accuracy": "experiments.metrics.accuracy.Accuracy",
        "f1": "experiments.metrics.f1.F1",
        "macro_f1": "experiments.metrics.f1.MacroF1",
        "matthews": "experiments.metrics.matthews.Matthews",
    },
    "regression": {
        "pearson": "experiments.metrics.correlation.Pearson",
        "spearman": "experiments.metrics.correlation.Spearman",
    },
    "causal_lm": {
        "loss": "experiments.metrics.loss.Loss",
        "perplexity": "experiments.metrics.loss.Perplexity",
    },
}
LOWER_IS_BETTER = frozenset({"loss", "perplexity"})
DECIMALS = {"loss": 4}  # as people read them; the others have 2


def check_metric(name: str, kind: str) -> None:
    """Raise ValueError unless `name` is a metric for tasks of this kind."""
    check_choice("task kind", kind, METRICS)
    check_choice(f"{kind} metric", name, METRICS[kind])


def better(name: str, value: float, than: float) -> bool:
    """True if one value of a metric is better than another; never where either is NaN."""
    return value < than if name in LOWER_IS_BETTER else value > than


def decimals(name: str) -> int:
    """Decimals to show of a metric, or of its value on one evaluation set (`loss_seen`)."""
    return DECIMALS.get(name.partition("_")[0], 2)


def as_printed(name: str, kind: str, predictions: ArrayLike, references: ArrayLike) -> float:
    """A metric over the rows of one evaluation as the paper prints it: shares in percent (86.5), a loss in nats."""
    from hydra.utils import get_class

    check_metric(name, kind)
    metric = get_class(METRICS[kind][name])()
    return metric.scale * metric.compute(predictions=predictions, references=references)[metric.name]
