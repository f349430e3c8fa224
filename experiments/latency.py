"""What a forward pass takes with and without adapters: Table 1 and Figure 5 (sections 3 and 4.1, appendix B).

A setting is a batch size and a length, at which the base model, LoRA merged and not, and both adapter designs run in
turns (experiments.measure.passes). A slow-down is the median over rounds of two passes of one round; its
interval is that of order statistics, which assumes nothing of the distribution. `seconds` is for all settings, warm-up
included; those without the time for their least rounds are left out and named. Cells are written as they come.
"""

from typing import Any

from omegaconf import DictConfig

from experiments.artifacts.kinds.latency import measured
from experiments.config.entry import entry


@entry("latency", examples=[
    "python -m experiments.latency model=gpt2-medium",
    "python -m experiments.latency dtype=fp16 output_dir=results/gpu/latency-fp16",
    "python -m experiments.latency 'table=[[1,128]]' 'batch_sizes=[]' seconds=600",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Time forward passes of the base, LoRA merged and unmerged, AdapterH and AdapterL."""
    return measured(cfg)


if __name__ == "__main__":
    main()
