"""Tasks: data, model kind, collation, loss and metrics of what a model is adapted to."""

from experiments.tasks.base import Task, TaskData, TextTask

__all__ = ["Task", "TaskData", "TextTask"]
