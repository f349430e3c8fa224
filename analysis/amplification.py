"""By how much does an adapter amplify directions that its base model has little of? (section 7.3, table 7, figure 8)"""

from typing import Any

from omegaconf import DictConfig

from experiments.config.entry import entry


@entry("amplification", examples=[
    "python -m analysis.amplification adapter=results/minilm/mrpc-minilm-lora-seed0-1a2b3c4d",
    "python -m analysis.amplification adapter=my-peft-adapter base=roberta-base sites=[q] layers=[5]",
    "python -m analysis.amplification adapter=mnli.bin alpha=16 base=model.safetensors output_dir=figures",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Table 7 for every matrix that a LoRA adapter changes, beside W's own directions and random ones."""
    from analysis.studies.amplification import study
    from analysis.studies.choices import check_choices, chosen_layers, chosen_sites
    from experiments.tables.publish import publish_command

    check_choices(cfg, ["adapter"])
    if cfg.full_svd not in (True, False, None):
        raise ValueError(f"full_svd {cfg.full_svd!r} is not true, false or null")
    found = study(cfg.adapter, cfg.base, chosen_sites(cfg), chosen_layers(cfg), cfg.alpha, cfg.fused, cfg.full_svd,
                  cfg.level, cfg.seed)
    return {"adapter": str(cfg.adapter), "base": cfg.base, **publish_command(found, cfg)}


if __name__ == "__main__":
    main()
