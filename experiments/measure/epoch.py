"""Time of a training epoch: this trainer with and without bf16 and bucketing, and PEFT with transformers.Trainer.

All train LoRA of the same rank on the same matrices with the same head, batch size and optimizer settings.
"""

import statistics
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from experiments.measure.peers import package, peft_config
from experiments.measure.record import BenchmarkRecord, new_record
from experiments.measure.rounds import ratio, rounds
from experiments.models.load import load_model, load_tokenizer
from experiments.store.checkpoint import seed_everything
from experiments.store.logger import Logger
from experiments.training.hardware import threads_for_this_process
from experiments.training.trainer import Trainer
from lora.sites import head_modules

THEIRS = "PEFT + Trainer, fp32"
# changes of each variant to cfg.trainer; None is PEFT + transformers.Trainer
VARIANTS: dict[str, dict[str, Any] | None] = {
    "ours": {}, "ours, fp32": {"precision": "fp32"}, "ours, fp32, not bucketed": {"precision": "fp32", "bucket": False},
    THEIRS: None}


def epoch_benchmark(cfg: DictConfig) -> BenchmarkRecord:
    """Seconds of an epoch of LoRA in this trainer, and with PEFT + transformers.Trainer."""
    package("peft")
    threads = cfg.trainer.threads or threads_for_this_process()
    torch.set_num_threads(threads)
    task, tokenizer = instantiate(cfg.task), load_tokenizer(cfg.model)
    rows = task.encode(task.load().train.select(range(cfg.rows)), tokenizer, cfg.trainer.max_length)
    with TemporaryDirectory() as folder:  # transformers.Trainer wants one
        epochs = {name: _epoch(cfg, change, task, rows, tokenizer, folder) for name, change in VARIANTS.items()}
        seconds = rounds(epochs, cfg.rounds, warmup=0)
    variants = {name: {"seconds": statistics.median(times), "over_peft_trainer": ratio(seconds, name, THEIRS)}
                for name, times in seconds.items()}
    settings = {"model": cfg.model.name, "task": cfg.task.name, "rows": cfg.rows,
                "batch_size": cfg.trainer.batch_size}
    packages = ("torch", "transformers", "peft", "accelerate")
    return new_record("epoch", packages, threads, cfg.rounds, settings, variants, {})


def _epoch(cfg: DictConfig, change: dict[str, Any] | None, task: Any, rows: list[Any], tokenizer: Any,
           folder: str) -> Callable[[], Any]:
    """A function that trains one epoch of a variant."""
    seed_everything(cfg.seed)
    model = load_model(cfg.model, task.kind, task.num_labels, task.labels)
    if change is None:
        return _peft_trainer(cfg, model, rows, tokenizer, folder)
    groups = instantiate(cfg.method).apply(model, pooler=cfg.model.pooler)
    settings = OmegaConf.merge(cfg.trainer, change, {"log_every": 10**6})
    assert isinstance(settings, DictConfig)
    silent: Any = OmegaConf.merge(cfg.logger, {"wandb": {"mode": "disabled"}})
    trainer = Trainer(settings, model, groups, task, rows, {}, seed=cfg.seed, pad_token_id=tokenizer.pad_token_id,
                      logger=Logger(silent, "epoch", {}, Path(cfg.store)), checkpoints=None)
    return lambda: trainer.train_epoch(0, tqdm(disable=True))


def _peft_trainer(cfg: DictConfig, model: Any, rows: list[Any], tokenizer: Any, folder: str) -> Callable[[], Any]:
    """The same epoch with PEFT and transformers.Trainer, its defaults and dynamic padding."""
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
    return trainer.train
