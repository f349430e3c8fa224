"""Costs of a method on a model (section 4.2), computed without weights: experiments.measure.cost says how.

`python -m experiments.benchmark benchmark=cost` compares them with measured ones; results/cpu/cost is its record.
"""

from typing import Any

from omegaconf import DictConfig

from experiments.config.entry import entry


@entry("cost", examples=[
    "python -m experiments.cost model=gpt3-175b method=lora method.rank=4 precision=fp16 checkpointing=true",
    "python -m experiments.cost model=roberta-large method=ft batch_size=32 length=128 precision=bf16",
    "python -m experiments.cost model=gpt2-medium method=lora batch_size=8 length=512 space_gb=10",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Bytes and FLOPs of training a method on a model, and the number of adaptations that a store holds."""
    from pathlib import Path

    from experiments.measure.cost import cost_record, cost_sheet
    from experiments.tables.publish import publish

    record = cost_record(cfg)
    publish(cost_sheet(record), Path(), formats=())
    return record


if __name__ == "__main__":
    main()
