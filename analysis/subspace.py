"""Similarity of the subspaces of two adapters (sections 7.2 and H.3, figures 3, 4, 6 and 7)"""

from typing import Any

from omegaconf import DictConfig

from experiments.config.entry import entry


@entry("subspace", examples=[
    "python -m analysis.subspace a=results/minilm/mrpc-minilm-lora-seed0-1a2b3c4d b=my-peft-adapter",
    "python -m analysis.subspace a=rank8.bin b=rank64.bin roles=[q,v] layers=[0,5,11] which=dW output=figures",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Compare the subspaces of two LoRA adapters with each other and with chance: tables and figures."""
    from pathlib import Path

    from analysis.studies.choices import SubspaceOptions, check_given, check_loralib, read_choices
    from experiments.config.compose import plain_dict, run_config
    from experiments.store.locate import locate, short_name
    from experiments.store.logger import check_logger

    values = plain_dict(cfg)
    check_logger(cfg.logger)
    check_given(values, ["a", "b"])
    choices = read_choices(values)
    options = SubspaceOptions(cfg.which, cfg.level, cfg.samples, cfg.seed)
    paths = [locate(cfg.a), locate(cfg.b)]
    check_loralib(values, paths)

    from analysis.adapters.read import read_updates
    from analysis.studies.subspace import subspace_study
    from experiments.runs.initial import compare_adapters
    from experiments.tables.publish_study import publish_study

    a, b = (read_updates(path, source=source, alpha=cfg.alpha, fused=values["fused"], factors=cfg.which != "dW")
            for path, source in zip(paths, (cfg.a, cfg.b), strict=True))
    comparison = compare_adapters(a, b, choices.roles, choices.layers)
    study = subspace_study(comparison, [short_name(path) for path in paths], options)
    record = publish_study(study, Path(cfg.output), cfg.logger, run_config(cfg), {}, cfg.caption)
    return {"a": str(cfg.a), "b": str(cfg.b), **record}


if __name__ == "__main__":
    main()
