"""Benchmark records as tables: a row for each variant, and below them how the numbers were taken."""

from dataclasses import asdict, dataclass
from typing import Any

from experiments.measure.record import BenchmarkRecord
from experiments.tables.publish import Sheet
from lora.errors import check_choice

NAME = "variant"  # the column of a variant's name; every other column is a key of its measurements


@dataclass(frozen=True)
class BenchmarkPage:
    """How the records of one benchmark are shown; `summary` is filled from the record's and a row's `ratio_to`."""

    columns: dict[str, str]  # key -> header
    statistic: str           # of seconds, over rounds
    weights: str
    summary: str


PAGES = {
    "step": BenchmarkPage({NAME: "variant", "seconds": "seconds a step", "over_peft": "over peft",
                           "over_frozen": "over frozen", "peak_memory_mb": "peak MB",
                           "step_memory_mb": "of it the steps'"}, "median", "random weights", ""),
    "epoch": BenchmarkPage({NAME: "variant", "seconds": "seconds an epoch",
                            "over_peft_trainer": "over PEFT + Trainer"}, "median", "pretrained weights", ""),
    "processes": BenchmarkPage({"model": "model", "parameters": "parameters", "layout": "layout",
                                "precision": "precision", "attention": "attention",
                                "tokens_per_second": "tokens/s"}, "median", "random weights", ""),
    "similarity": BenchmarkPage({NAME: "variant", "width": "width", "seconds": "seconds"}, "least", "random updates",
                                "fast is {times_faster:,.0f} times as fast as naive; largest difference of phi: "
                                "{largest_difference:.2g}."),
    "cost": BenchmarkPage({"model": "model", "method": "method", "batch_size": "batch", "length": "length",
                           "precision": "precision", "checkpointing": "checkpointing",
                           "predicted_memory_mb": "predicted MB", "measured_memory_mb": "measured",
                           "memory_error": "error", "predicted_seconds": "predicted s",
                           "measured_seconds": "measured", "time_error": "error",
                           "predicted_ratio": "predicted ratio", "measured_ratio": "measured",
                           "ratio_error": "error"}, "median", "random weights",
                          "Worst error: memory {worst_memory_error:.1%}, time {worst_time_error:.1%}, "
                          "ratio to the time of {ratio_to} {worst_ratio_error:.1%}.")}


def benchmark_sheet(record: BenchmarkRecord) -> Sheet:
    """The table of a record."""
    check_choice("benchmark", record.benchmark, PAGES)
    page = PAGES[record.benchmark]
    rows = [[name if key == NAME else shown(key, variant[key]) for key in page.columns]
            for name, variant in record.variants.items()]
    first = next(iter(record.variants.values()))
    notes = [page.summary.format(**record.summary, ratio_to=first.get("ratio_to"))] if page.summary else []
    settings = [f"{key}={shown(key, value)}" for key, value in record.settings.items()]
    conditions = [record.device, f"{record.threads} thread{'s' * (record.threads > 1)}",
                  f"{page.statistic} of {record.rounds} rounds", f"torch {record.versions['torch']}", *settings]
    notes.append(f"{', '.join(conditions)}; {page.weights}.")
    return Sheet(record.benchmark, "", list(page.columns.values()), rows, notes, record=asdict(record))


def shown(key: str, value: Any) -> Any:
    """A measurement or setting as text, with the decimals that its kind deserves; None stays, and is a dash."""
    if key.endswith("error"):
        return f"{value:+.1%}"
    if key.endswith(("memory_mb", "per_second")):
        return f"{value:,.0f}"
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and key == "parameters":
        return f"{value:,}"
    return f"{value:.3f}" if isinstance(value, float) else value
