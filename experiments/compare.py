"""Every run of a store side by side: what they differ in, what they scored, and what they cost.

Runs that differ in their seed alone are one line: the median score with its spread, median cost.
"""

import re
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments.config.entry import entry


@entry("compare", examples=[
    "python -m experiments.compare store=results/minilm",
    "python -m experiments.compare store=results/minilm/learning_rates task=mrpc",
    "python -m experiments.compare store=results/local method=lora",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Show every run of a store, or those of one task or method: how configs differ, scores over seeds, costs."""
    from experiments.store.store import Store
    from experiments.sweeps.side_by_side import compare, sheet_of, side_by_side_figure
    from experiments.tables.publish import publish
    from experiments.tables.publish_study import save_figure

    ignored = [line for line in HydraConfig.get().overrides.task if re.match(r"[+~]*(task|method)\.(?!name=)", line)]
    if ignored:
        raise ValueError(f"runs are chosen by the names of their task and method alone, not by {ignored[0]}")
    names = {group: cfg[group].name for group in ("task", "method") if group in cfg}
    records = [record for record in Store(cfg.store).all()
               if all(record.config[group]["name"] == name for group, name in names.items())]
    if not records:
        chosen = " and ".join(f"{group} {name}" for group, name in names.items())
        raise ValueError(f"store {cfg.store} has no runs{chosen and f' of {chosen}'}")
    table, folder = compare(records), Store(cfg.store).root
    files = publish(sheet_of(table), folder / "tables", ("md", "csv", "tex"))
    if (figure := side_by_side_figure(table)) is not None:
        files += save_figure(figure, folder / "figures", "runs")
    return {"runs": len(records), "lines": len(table), "failed": 0, "files": [str(file) for file in files]}


if __name__ == "__main__":
    main()
