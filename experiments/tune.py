"""The learning rate of each method, and of LoRA at each rank: one sweep with one budget for all, on development rows.

Every method has as many rates to choose from as every other, and every rank a sweep of its own, so that a difference
between two of them is not one of care. The rate with the best mean score over the tasks is chosen, of those whose
runs all ended well; `write=true` puts the choice into conf/presets. The table of a model keeps the settings of earlier
sweeps over the same tasks.
"""

import re
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments.config.entry import entry


@entry("tune", examples=[
    "python -m experiments.tune model=roberta-nano",
    "python -m experiments.tune train=false write=true",
    "python -m experiments.tune model=gpt2-nano tasks=[e2e-nano] store=results/nano/learning_rates_gpt2 jobs=2",
    "python -m experiments.tune '~rates.ft' '~rates.bitfit' rates.lora=[5e-4,1e-3] ranks=[8]",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Choose learning rates: run what is missing of the sweep, print it with the choice, save it."""
    from experiments.config.compose import train_configs
    from experiments.sweeps.rates import report
    from experiments.sweeps.workers import train_apart

    hydra = HydraConfig.get()
    changes = [line for line in hydra.overrides.task if re.match(r"[+~]*model\.", line)]
    with train_configs() as compose_train:
        return report(cfg, [f"model={hydra.runtime.choices['model']}", *changes], compose_train, train_apart)


if __name__ == "__main__":
    main()
