"""How long an epoch takes on BERT: this trainer, with and without its economies, and PEFT + transformers.Trainer.

All train LoRA of the same rank on the same matrices with the same head, batch size and optimizer settings. Epochs of
the variants take turns, and a ratio is the median over rounds.
"""

import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from experiments.config.entry import entry
from experiments.measure.peers import package, peft_config
from experiments.models.load import load_model, load_tokenizer
from experiments.store.checkpoint import seed_everything
from experiments.store.files import json_line, write_atomic
from experiments.store.logger import Logger
from experiments.tables.text import print_rows
from experiments.training.hardware import describe, threads_for_this_process
from experiments.training.trainer import Trainer
from lora.sites import head_modules

THEIRS = "PEFT + Trainer, fp32"
# what each variant changes of the config; None is PEFT + transformers.Trainer
VARIANTS: dict[str, dict[str, Any] | None] = {
    "ours": {}, "ours, fp32": {"precision": "fp32"}, "ours, fp32, not bucketed": {"precision": "fp32", "bucket": False},
    THEIRS: None}


@entry("race", examples=[
    "python -m experiments.measure.epoch",
    "python -m experiments.measure.epoch task=rte rows=480 rounds=5",
    "python -m experiments.measure.epoch trainer.threads=1 output=results/cpu/race-1-thread.json",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Time an epoch of LoRA here and with PEFT + transformers.Trainer."""
    package("peft")
    threads = cfg.trainer.threads or threads_for_this_process()
    torch.set_num_threads(threads)
    task, tokenizer = instantiate(cfg.task), load_tokenizer(cfg.model)
    rows = task.encode(task.load().train.select(range(cfg.rows)), tokenizer, cfg.trainer.max_length)
    seconds = epoch_seconds(cfg, task, rows, tokenizer)
    table = {name: {"seconds": statistics.median(times), "over_peft_trainer": statistics.median(
        ours / theirs for ours, theirs in zip(times, seconds[THEIRS], strict=True))} for name, times in seconds.items()}
    record = {"variants": table, "model": cfg.model.name, "task": cfg.task.name, "rows": cfg.rows, "rounds": cfg.rounds,
              "batch_size": cfg.trainer.batch_size, "threads": threads, "device": describe(torch.device("cpu"), 1),
              "versions": {name: version(name) for name in ("torch", "transformers", "peft", "accelerate")}}
    print_rows(["variant", "seconds an epoch", "over PEFT + Trainer"],
               [[name, row["seconds"], row["over_peft_trainer"]] for name, row in table.items()])
    write_atomic(Path(cfg.output), json_line(record) + "\n")
    return record


def epoch_seconds(cfg: DictConfig, task: Any, rows: list[Any], tokenizer: Any) -> dict[str, list[float]]:
    """Seconds of each round's epoch by variant."""
    with TemporaryDirectory() as folder:  # transformers.Trainer wants one
        runners = {name: _runner(cfg, change, task, rows, tokenizer, folder) for name, change in VARIANTS.items()}
        seconds: dict[str, list[float]] = {name: [] for name in runners}
        for _ in range(cfg.rounds):
            for name, run in runners.items():
                seconds[name].append(run())
    return seconds


def _runner(cfg: DictConfig, change: dict[str, Any] | None, task: Any, rows: list[Any], tokenizer: Any,
            folder: str) -> Callable[[], float]:
    """A function that trains one epoch of a variant and returns its seconds."""
    seed_everything(cfg.seed)
    model = load_model(cfg.model, task.kind, task.num_labels, task.labels)
    if change is None:
        return _peft_trainer(cfg, model, rows, tokenizer, folder)
    groups = instantiate(cfg.method).apply(model, pooler=cfg.model.pooler)
    settings = OmegaConf.merge(cfg.trainer, change, {"log_every": 10**6})
    assert isinstance(settings, DictConfig)
    silent: Any = OmegaConf.merge(cfg.logger, {"wandb": {"mode": "disabled"}})
    trainer = Trainer(settings, model, groups, task, rows, {}, seed=cfg.seed, pad_token_id=tokenizer.pad_token_id,
                      logger=Logger(silent, "race", {}, Path(cfg.store)), checkpoints=None)

    def run() -> float:
        started = time.perf_counter()
        trainer.train_epoch(0, tqdm(disable=True))
        return time.perf_counter() - started

    return run


def _peft_trainer(cfg: DictConfig, model: Any, rows: list[Any], tokenizer: Any, folder: str) -> Callable[[], float]:
    """The same with the tools at hand: PEFT, transformers.Trainer with its defaults, dynamic padding."""
    from transformers import DataCollatorWithPadding, TrainingArguments
    from transformers import Trainer as TheirTrainer

    heads = [name.removeprefix(f"{model.base_model_prefix}.") for name in head_modules(model, cfg.model.pooler)]
    adapted = package("peft").get_peft_model(model, peft_config(model, cfg, modules_to_save=heads))
    settings = TrainingArguments(
        output_dir=folder, per_device_train_batch_size=cfg.trainer.batch_size, num_train_epochs=1,
        learning_rate=cfg.trainer.learning_rate, save_strategy="no", logging_strategy="no", report_to=[],
        use_cpu=True, disable_tqdm=True)
    trainer = TheirTrainer(model=adapted, args=settings, train_dataset=rows,  # type: ignore[arg-type]
                           data_collator=DataCollatorWithPadding(tokenizer))

    def run() -> float:
        started = time.perf_counter()
        trainer.train()
        return time.perf_counter() - started

    return run


if __name__ == "__main__":
    main()
