"""Time of a forward pass with and without adapters: Table 1 and Figure 5 (sections 3 and 4.1, appendix B).

experiments.measure.latency says how the settings share the time, and what a slow-down and its interval are.
"""

from typing import Any

from omegaconf import DictConfig

from experiments.config.entry import entry


@entry("latency", examples=[
    "python -m experiments.latency model=gpt2-medium",
    "python -m experiments.latency dtype=fp16 output=results/gpu/latency-fp16",
    "python -m experiments.latency 'table=[[1,128]]' 'batch_sizes=[]' seconds=600",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Time forward passes of the base, LoRA merged and unmerged, AdapterH and AdapterL."""
    from experiments.artifacts.kinds.latency import measured

    return measured(cfg)


if __name__ == "__main__":
    main()
