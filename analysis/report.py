"""One adapter on one self-contained HTML page: spectra, where the energy is, amplification, similarity to another.

analysis.page.numbers computes, analysis.page.reading puts in words, analysis.page.page draws.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from experiments.config.entry import entry
from experiments.store.files import write_atomic
from experiments.store.logger import Logger, check_logger

if TYPE_CHECKING:  # torch takes a second to import, which --help does without
    from analysis.adapters.updates import Problem
    from analysis.page.numbers import Study


@entry("report", examples=[
    "python -m analysis.report adapter=results/local/mrpc-minilm-lora-seed0-1a2b3c4d",
    "python -m analysis.report adapter=my-peft-adapter base=my-model other=another-adapter output=report.html",
    "python -m analysis.report adapter=roberta_base_lora_mnli.bin alpha=16 base=roberta-base",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Study one LoRA adapter, beside its base model and another adapter where given, on one HTML page."""
    from analysis.adapters.read import read_updates
    from analysis.page.numbers import facts, read_base, read_other, study_adapter
    from analysis.page.page import render

    check_logger(cfg.logger)
    if cfg.adapter is None:
        raise ValueError("adapter is not given: adapter=<run, folder or loralib file>")
    problems: list[Problem] = []
    adapter = read_updates(cfg.adapter, alpha=cfg.alpha, fused=cfg.fused)
    weights = read_base(cfg.base, adapter, problems)
    known = facts(adapter, cfg.alpha, None if weights is None else cfg.base or "the adapter's own")
    study = study_adapter(adapter, known, weights, read_other(cfg.other, cfg.fused, problems), problems)
    page = write_atomic(Path(cfg.output), render(study))
    record = {"page": str(page), **headline(study)}
    publish(cfg, study, record)
    return record


def headline(study: "Study") -> dict[str, Any]:
    """What the page says in a few numbers."""
    from statistics import fmean, median

    matrices = study.matrices
    largest = max(matrices, key=lambda matrix: matrix.norm)
    lowest = min(matrices, key=lambda matrix: matrix.effective_rank)
    factors = [each.factor for each in study.amplified.values()]
    return {"adapter": study.source, "matrices": len(matrices), "rank": study.facts["rank"],
            "parameters": study.facts["parameters"],
            "effective_rank": fmean(matrix.effective_rank for matrix in matrices),
            "stable_rank": fmean(matrix.stable_rank for matrix in matrices),
            "lowest_effective_rank": {"matrix": lowest.name, "value": lowest.effective_rank},
            "largest_norm": {"matrix": largest.name, "value": largest.norm},
            "amplification": median(factors) if factors else None,
            "shared_directions": {f"{each.column} {each.side}": each.shared.leading for each in study.agreements},
            "notes": study.seeds,
            "problems": [str(problem) for problem in study.problems]}


def publish(cfg: DictConfig, study: "Study", record: Mapping[str, Any]) -> None:
    """The table of numbers for people, and with the headline and the page for wandb."""
    import pandas as pd

    from analysis.page.page import numbers
    from experiments.tables.text import print_rows

    table = numbers(study)
    rows = [[name, *values] for name, values, _ in table["rows"]]
    print_rows(table["columns"], rows)
    config = {key: cfg[key] for key in ("adapter", "alpha", "base", "other")}
    with Logger(cfg.logger, f"report-{study.name}", config, Path(cfg.store), job_type="report") as logger:
        logger.log_table("numbers", pd.DataFrame(rows, columns=table["columns"]))
        logger.log_page("report", Path(record["page"]))
        logger.log_summary(record)


if __name__ == "__main__":
    main()
