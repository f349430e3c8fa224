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
}


def check_metric(name: str, kind: str) -> None:
    """Raise ValueError unless `name` is a metric for tasks of this kind."""
    check_choice("task kind", kind, METRICS)
    check_choice(f"{kind} metric", name, METRICS[kind])


def percent(name: str, kind: str, predictions: ArrayLike, references: ArrayLike) -> float:
    """100 times a metric over the rows of one evaluation, as the paper prints it (86.5)."""
    from hydra.utils import get_class

    check_metric(name, kind)
    metric = get_class(METRICS[kind][name])()
    return 100 * metric.compute(predictions=predictions, references=references)[metric.name]
