"""What is an adapter's update made of? Spectrum, effective and stable rank of dW = scaling * B A, layer by layer."""

from typing import Any

from omegaconf import DictConfig

from experiments.config.entry import entry


@entry("spectrum", examples=[
    "python -m analysis.spectrum adapter=results/minilm/mrpc-minilm-lora-seed0-1a2b3c4d",
    "python -m analysis.spectrum adapter=roberta_base_lora_mnli.bin alpha=16 output_dir=results/authors",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """The singular values of every update of one LoRA adapter, and the ranks that they amount to."""
    from analysis.studies.choices import check_choices, chosen_layers, chosen_sites
    from analysis.studies.spectrum import study
    from experiments.tables.publish import publish_command

    check_choices(cfg, ["adapter"])
    found = study(cfg.adapter, chosen_sites(cfg), chosen_layers(cfg), cfg.alpha, cfg.fused, cfg.level, cfg.seed)
    return {"adapter": str(cfg.adapter), **publish_command(found, cfg)}


if __name__ == "__main__":
    main()
