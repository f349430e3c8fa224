"""Every run of a store side by side: what they differ in, what they scored, and what they cost.

Runs that differ in their seed alone are one line: the median score with its spread, median cost. What tells lines
apart is a column. A record that is not as it was written is named and left out, and the exit code is then 1.
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
    from experiments.sweeps.lines import lines_of, pooled_notes
    from experiments.sweeps.side_by_side import compare, publish_side_by_side

    ignored = [line for line in HydraConfig.get().overrides.task if re.match(r"[+~]*(task|method)\.(?!name=)", line)]
    if ignored:
        raise ValueError(f"runs are chosen by the names of their task and method alone, not by {ignored[0]}")
    names = {group: cfg[group].name for group in ("task", "method") if group in cfg}
    stored, left_out = Store(cfg.store).read_all()
    records = [record for record in stored
               if all(record.config[group]["name"] == name for group, name in names.items())]
    if not records:
        chosen = " and ".join(f"{group} {name}" for group, name in names.items())
        why = "".join(f"; left out: {line}" for line in left_out)
        raise ValueError(f"store {cfg.store} has no runs{chosen and f' of {chosen}'}{why}")
    table = compare(records)
    notes = [*(f"left out: {why}" for why in left_out), *pooled_notes(lines_of(records), with_device=True)]
    files = publish_side_by_side(table, notes, Store(cfg.store))
    return {"runs": len(records), "lines": len(table), "failed": 0, "left_out": left_out,
            "files": [str(file) for file in files]}


if __name__ == "__main__":
    main()
