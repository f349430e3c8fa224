"""One adapter on one self-contained HTML page: spectra, where the energy is, amplification, similarity to another."""

from typing import Any

from omegaconf import DictConfig

from experiments.config.entry import entry


@entry("report", examples=[
    "python -m analysis.report adapter=results/local/mrpc-minilm-lora-seed0-1a2b3c4d",
    "python -m analysis.report adapter=my-peft-adapter base=my-model other=another-adapter output=report.html",
    "python -m analysis.report adapter=roberta_base_lora_mnli.bin alpha=16 base=roberta-base",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Study one LoRA adapter, beside its base model and another adapter where given, on one HTML page."""
    from pathlib import Path

    from analysis.studies.choices import check_given, check_loralib
    from experiments.config.compose import plain_dict
    from experiments.store.files import write_atomic
    from experiments.store.locate import locate
    from experiments.store.logger import Logger, check_logger

    check_logger(cfg.logger)
    check_given(cfg, ["adapter"])
    values, path = plain_dict(cfg), locate(cfg.adapter)
    check_loralib(values, [path], ["alpha"])
    check_loralib(values, [path, *([] if cfg.other is None else [locate(cfg.other)])], ["fused"])

    from analysis.adapters.read import read_updates
    from analysis.page.numbers import study_adapter
    from analysis.page.page import made_by, numbers, render
    from analysis.page.reading import headline
    from experiments.models.bases import base_or_problem
    from experiments.runs.initial import comparison_or_problem
    from experiments.tables.publish import Sheet, publish

    adapter = read_updates(path, source=cfg.adapter, alpha=cfg.alpha, fused=values["fused"])
    weights, problems = base_or_problem(cfg.base, adapter, cfg.transposed)
    comparison, other_problems = comparison_or_problem(adapter, cfg.other, values["fused"])
    report = study_adapter(adapter, cfg.alpha, weights, cfg.base, comparison, [*problems, *other_problems])
    config = {key: values[key] for key in ("adapter", "alpha", "fused", "base", "transposed", "other")}
    page = write_atomic(Path(cfg.output), render(report, made_by(config)))
    record = {"page": str(page), **headline(report)}
    table = numbers(report)
    with Logger(cfg.logger, f"report-{report.name}", config, Path(cfg.store), job_type="report") as logger:
        rows = [[name, *shown] for name, shown, _ in table["rows"]]
        publish(Sheet("numbers", "", table["columns"], rows), Path(cfg.store), (), logger)
        logger.log_page("report", page)
        logger.log_summary(record)
    return record


if __name__ == "__main__":
    main()
