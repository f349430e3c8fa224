"""The spectrum of an adapter's updates: singular values, effective and stable rank of dW = scaling * B A by layer."""

from typing import Any

from omegaconf import DictConfig

from experiments.config.entry import entry


@entry("spectrum", examples=[
    "python -m analysis.spectrum adapter=results/minilm/mrpc-minilm-lora-seed0-1a2b3c4d",
    "python -m analysis.spectrum adapter=roberta_base_lora_mnli.bin alpha=16 output=results/authors",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """The singular values of every update of one LoRA adapter, and the ranks that they amount to."""
    from pathlib import Path

    from analysis.studies.choices import check_given, check_loralib, read_choices
    from experiments.config.compose import plain_dict, run_config
    from experiments.store.locate import locate, short_name
    from experiments.store.logger import check_logger

    values = plain_dict(cfg)
    check_logger(cfg.logger)
    check_given(values, ["adapter"])
    choices = read_choices(values)
    path = locate(cfg.adapter)
    check_loralib(values, [path])

    from analysis.adapters.read import read_updates
    from analysis.studies.spectrum import spectrum_study
    from experiments.tables.publish_study import publish_study

    adapter = read_updates(path, source=cfg.adapter, alpha=cfg.alpha, fused=values["fused"])
    study = spectrum_study(adapter, short_name(path), choices)
    record = publish_study(study, Path(cfg.output), cfg.logger, run_config(cfg), {}, cfg.caption)
    return {"adapter": str(cfg.adapter), **record}


if __name__ == "__main__":
    main()
