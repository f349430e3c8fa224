"""Tasks: data, model kind, collation, loss and metrics of what a model is adapted to."""

from experiments.tasks.base import Task, TaskData, TextTask
from experiments.tasks.generation import Generation

__all__ = ["Generation", "Task", "TaskData", "TextTask"]
