"""Time and memory on this machine, measured in rounds in which all variants take turns (experiments.measure.rounds).

benchmark=step        a training step: ours, PEFT's, loralib's, full fine-tuning's, and the frozen body's
benchmark=epoch       an epoch of this trainer, and of PEFT with transformers.Trainer
benchmark=processes   tokens per second by processes, threads, precision and attention
benchmark=similarity  phi through thin factors against the direct computation, and at GPT-3's width
benchmark=cost        the costs that experiments.cost predicts, against measured ones
"""

from dataclasses import asdict
from typing import Any

from omegaconf import DictConfig

from experiments.config.entry import entry


@entry("benchmark", examples=[
    "python -m experiments.benchmark benchmark=step",
    "python -m experiments.benchmark benchmark=step precision=bf16 output=results/cpu/step-bf16",
    "python -m experiments.benchmark benchmark=step model=minilm length=56 'variants=[ours,peft]' rounds=20",
    "python -m experiments.benchmark benchmark=epoch model=minilm task=mrpc",
    "python -m experiments.benchmark benchmark=epoch task=rte-nano rows=480 trainer.threads=1 output=results/local/epoch",
    "python -m experiments.benchmark benchmark=processes models=[roberta-nano] rounds=9 output=results/local/processes",
    "python -m experiments.benchmark benchmark=similarity d=512 large=2048 output=results/local/similarity",
    "python -m experiments.benchmark benchmark=cost methods=[lora] rounds=3 output=results/local/cost "
    "'settings=[{model: minilm, batch_size: 4, length: 32, precision: fp32, checkpointing: false}]'",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Measure time and memory of training, or of the analysis, on this machine."""
    from pathlib import Path

    from hydra.utils import get_method

    from experiments.measure.sheets import benchmark_sheet
    from experiments.tables.publish import publish

    record = get_method(cfg.measure)(cfg)
    publish(benchmark_sheet(record), Path(cfg.output), formats=("md", "json"))
    return asdict(record)


if __name__ == "__main__":
    main()
