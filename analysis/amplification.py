"""Amplification of the base weights by an adapter (section 7.3, table 7, figure 8)"""

from typing import Any

from omegaconf import DictConfig

from experiments.config.entry import entry


@entry("amplification", examples=[
    "python -m analysis.amplification adapter=results/minilm/mrpc-minilm-lora-seed0-1a2b3c4d",
    "python -m analysis.amplification adapter=my-peft-adapter base=roberta-base roles=[q] layers=[5]",
    "python -m analysis.amplification adapter=mnli.bin alpha=16 base=model.safetensors output=figures",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Table 7 for every matrix that a LoRA adapter changes, beside W's own directions and random ones."""
    from dataclasses import replace
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
    from analysis.studies.amplification import amplification_study
    from experiments.models.bases import needed_base
    from experiments.tables.publish_study import publish_study

    adapter = read_updates(path, source=cfg.adapter, alpha=cfg.alpha, fused=values["fused"])
    weights, problems = needed_base(cfg.base, adapter, cfg.transposed)
    study = amplification_study(adapter, weights, short_name(path), choices, cfg.full_svd)
    study = replace(study, problems=[*problems, *study.problems])
    record = publish_study(study, Path(cfg.output), cfg.logger, run_config(cfg), {}, cfg.caption)
    return {"adapter": str(cfg.adapter), "base": cfg.base, **record}


if __name__ == "__main__":
    main()
