"""Do two adapters move the same matrices along the same directions? (sections 7.2 and H.3, figures 3, 4, 6 and 7)"""

from typing import Any

from omegaconf import DictConfig

from experiments.config.entry import entry


@entry("subspace", examples=[
    "python -m analysis.subspace a=results/minilm/mrpc-minilm-lora-seed0-1a2b3c4d b=my-peft-adapter",
    "python -m analysis.subspace a=rank8.bin b=rank64.bin sites=[q,v] layers=[0,5,11] which=dW output_dir=figures",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Compare the subspaces of two LoRA adapters with each other and with chance: tables and figures."""
    from analysis.studies.choices import check_choices, chosen_layers, chosen_sites
    from analysis.studies.subspace import Options, study
    from experiments.tables.publish import publish_command

    check_choices(cfg, ["a", "b"])
    options = Options(cfg.which, cfg.level, cfg.samples, cfg.seed)
    found = study([cfg.a, cfg.b], chosen_sites(cfg), chosen_layers(cfg), cfg.alpha, cfg.fused, options)
    return {"a": str(cfg.a), "b": str(cfg.b), **publish_command(found, cfg)}


if __name__ == "__main__":
    main()
