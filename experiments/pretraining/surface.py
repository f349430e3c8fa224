"""A table of what words, and their recurrence, give on the miniature tasks: what a model that reads must beat."""

from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from experiments.config.entry import entry
from experiments.store.files import write_atomic
from lora.errors import check_choice

CAPTION = ("Validation scores of a linear classifier on bags of words, and of boosted trees on how many words of two "
           "texts recur")
COLUMNS = ["task", "metric", "most frequent answer", "words of all texts", "of the second alone", "overlap"]


@entry("surface", examples=[
    "python -m experiments.pretraining.surface",
    "python -m experiments.pretraining.surface tasks=[rte,mnli] world.seed=2 store=results/local",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Fit what cannot read to each miniature task, from words and from how they recur, print and save its scores."""
    from experiments.pretraining.gates import GLUE, chance, composed
    from experiments.tables.text import cell, markdown_rows, print_rows
    from experiments.tasks.world.surface import main_scores

    for name in cfg.tasks:
        check_choice("task", name, GLUE)
    rows = []
    for name in cfg.tasks:
        task = instantiate(composed(cfg, name).task)
        rows.append([task.name, task.main_metric, chance(task), *main_scores(task)])
    print_rows(COLUMNS, rows)
    world = ", ".join(f"{key} {value}" for key, value in cfg.world.items() if key != "_target_")
    table = markdown_rows(COLUMNS, [list(map(cell, row)) for row in rows])
    file = write_atomic(Path(cfg.store) / "bag_of_words.md",
                        f"**{CAPTION}** (`python -m experiments.pretraining.surface`; world: {world})\n\n{table}\n")
    return {"tasks": [dict(zip(COLUMNS, row, strict=True)) for row in rows], "file": str(file)}


if __name__ == "__main__":
    main()
