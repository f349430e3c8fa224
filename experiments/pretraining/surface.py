"""The scores that words, and their recurrence, give on the miniature tasks: a model must beat them by reading."""

from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from experiments.pretraining.gates import GLUE, chance, composed
from experiments.tables.publish import Sheet, publish
from experiments.tasks.world.surface import main_scores
from lora.errors import check_choice

CAPTION = ("Validation scores of a linear classifier on bags of words, and of boosted trees on how many words of two "
           "texts recur")
COLUMNS = ("task", "metric", "most frequent answer", "words of all texts", "of the second alone", "overlap")


def word_scores(cfg: DictConfig) -> dict[str, Any]:
    """Fit both classifiers to each task of `cfg.tasks` and publish their scores as bag_of_words.md in `cfg.output`."""
    for name in cfg.tasks:
        check_choice("task", name, GLUE)
    tasks = [instantiate(composed(cfg, name).task) for name in cfg.tasks]
    rows = [[task.name, task.main_metric, chance(task), *main_scores(task)] for task in tasks]
    world = ", ".join(f"{key} {value}" for key, value in cfg.world.items() if key != "_target_")
    sheet = Sheet("bag_of_words", CAPTION, COLUMNS, rows,
                  notes=["python -m experiments.pretrain check=surface", f"world: {world}"])
    (file,) = publish(sheet, Path(cfg.output), ("md",))
    return {"tasks": [dict(zip(COLUMNS, row, strict=True)) for row in rows], "file": str(file)}
