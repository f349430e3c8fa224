"""Exact parameter counts of a method on a model, on the meta device: no weights are loaded or downloaded."""

from dataclasses import asdict
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from experiments.config.entry import entry


@entry("count", examples=[
    "python -m experiments.count model=roberta-large method=lora method.rank=8 'method.targets=[q,v]'",
    "python -m experiments.count model=gpt3-175b method=lora method.rank=4",
    "python -m experiments.count model=roberta-base method=adapter_d method.bottleneck=48 method.dropped_layers=8",
    "python -m experiments.count model=deberta-v2-xxlarge method=ft",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Count what a method trains, head apart, and the bytes that keeping one adaptation takes."""
    from experiments.models.load import empty_model, kind_of
    from lora.count import count

    kind = cfg.kind or kind_of(cfg.model)
    counts = count(empty_model(cfg.model, kind, cfg.num_labels), instantiate(cfg.method), cfg.model.pooler)
    return {"model": cfg.model.name, "method": cfg.method.name, "kind": kind} | asdict(counts)


if __name__ == "__main__":
    main()
