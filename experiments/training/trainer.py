"""The training loop, one for every method: AdamW, linear or constant schedule, best epoch kept (section 5, appendix D).

The loop is ours on top of accelerate because a checkpoint holds only what trains, the best epoch stays in memory
and a global batch means the same under any number of devices. A method only names its parameter groups.
"""

import hashlib
import logging
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from experiments.metrics import better, decimals
from experiments.store.checkpoint import cpu_copy, load_checkpoint, save_checkpoint
from experiments.store.logger import Logger
from experiments.tasks.base import Task
from experiments.training.batches import device_batches, epoch_batches, evaluation_batches
from experiments.training.hardware import choose_device, choose_precision, peak_memory_mb, reset_peak_memory
from experiments.training.inputs import padding_multiple
from experiments.training.limits import check_trainer
from experiments.training.optimizer import hold_frozen, make_optimizer, schedule
from lora.adapter_file import adapter_tensors, load_tensors
from lora.bank import bank, merge, unmerge
from lora.layer import MergeError
from lora.methods import ParameterGroup
from lora.quantised import HELD, check_available

log = logging.getLogger(__name__)
Rows = list[dict[str, Any]]


@dataclass
class Progress:
    """State of a training: all that a checkpoint must bring back besides parameters and optimizer."""

    epoch: int = 0                     # epochs finished
    step: int = 0                      # optimizer steps taken
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int | None = None      # counted from 1
    best: dict[str, Tensor] = field(default_factory=dict)  # what trained, at the best epoch
    merge_error: dict[str, float] = field(default_factory=dict)  # of the last evaluation, by dtype


@dataclass
class Outcome:
    """Result of a training, for its record; the model holds the best epoch."""

    history: list[dict[str, Any]]
    best_epoch: int
    metrics: dict[str, float]
    score: float
    collapsed: bool
    seconds: float
    tokens_per_second: float
    peak_memory_mb: float
    precision: str
    processes: int
    merge_error: dict[str, float]


def check_device(cfg: DictConfig) -> None:
    """Raise ValueError where the device of this process cannot hold or compute what conf/trainer asks for."""
    device = choose_device(cfg.device)
    if cfg.frozen in HELD:
        check_available(cfg.frozen, device)
    if cfg.frozen == "bf16" and choose_precision(cfg.precision, device) != "bf16":
        raise ValueError("trainer.frozen=bf16 needs trainer.precision=bf16: fp32 arithmetic needs fp32 weights")


class Trainer:
    """Trains the active adapter of `model` on `train`, and evaluates each set of `evaluation` after every epoch."""

    def __init__(self, cfg: DictConfig, model: nn.Module, groups: list[ParameterGroup], task: Task, train: Rows,
                 evaluation: dict[str, Rows], *, seed: int, pad_token_id: int, logger: Logger,
                 checkpoints: Path | None) -> None:
        check_trainer(cfg)
        check_device(cfg)
        OmegaConf.resolve(cfg := cfg.copy())
        self.cfg, self.task, self.train_rows, self.evaluation = cfg, task, train, evaluation
        self.seed, self.pad_token_id, self.logger, self.checkpoints = seed, pad_token_id, logger, checkpoints
        device = choose_device(cfg.device)
        self.precision = choose_precision(cfg.precision, device)
        AcceleratorState._reset_state(reset_partial_state=False)  # a sweep may change precision between its runs
        self.accelerator = Accelerator(cpu=device.type == "cpu",
                                       mixed_precision="bf16" if self.precision == "bf16" else "no")
        self.padding_multiple = padding_multiple(model, task, train, pad_token_id, cfg.max_length)
        hold_frozen(model, cfg.frozen, torch.bfloat16 if self.precision == "bf16" else torch.float32)
        self.model = model
        optimizer = make_optimizer(groups, cfg)
        forward = torch.compile(model) if cfg.compile else model
        self.forward, self.optimizer = self.accelerator.prepare(forward, optimizer)
        self.progress = Progress()
        self.lengths = [len(row["input_ids"]) for row in train]
        self.steps_per_epoch = math.ceil(len(train) / cfg.batch_size)
        self.steps = self.steps_per_epoch * cfg.epochs

    def fit(self) -> Outcome:
        """Train from the last checkpoint, or the start, to the end; leave the best epoch in the model."""
        self._resume()
        reset_peak_memory(self.accelerator.device)
        with logging_redirect_tqdm(), self._bar() as bar:  # a line of the log stands above the bar
            for epoch in range(self.progress.epoch, self.cfg.epochs):
                started = time.perf_counter()
                entry = {"epoch": epoch + 1} | self.train_epoch(epoch, bar) | self._evaluate()
                entry["seconds"] = time.perf_counter() - started
                self._finish_epoch(entry)
        progress = self.progress
        assert progress.best_epoch is not None
        load_tensors(self.model, progress.best)
        best = progress.history[progress.best_epoch - 1]
        return Outcome(progress.history, progress.best_epoch, best["metrics"], best["metrics"][self.task.main_metric],
                       best["collapsed"] or progress.history[-1]["collapsed"], progress.seconds,
                       sum(e["tokens"] for e in progress.history) / sum(e["train_seconds"] for e in progress.history),
                       peak_memory_mb(self.accelerator.device), self.precision, self.accelerator.num_processes,
                       progress.merge_error)

    def _bar(self) -> tqdm:
        """The progress of this run, shown by the first process."""
        return tqdm(desc=self.logger.name, total=self.steps, initial=self.progress.step, file=sys.stderr, unit="step",
                    disable=not self.accelerator.is_main_process, mininterval=0.5 if sys.stderr.isatty() else 15)

    def train_epoch(self, epoch: int, bar: tqdm) -> dict[str, Any]:
        """One pass over the training set: mean loss, tokens, seconds."""
        self.forward.train()
        if self.accelerator.num_processes > 1:  # else every process would drop out the same units of its rows
            torch.manual_seed(process_seed(self.seed, epoch, self.accelerator.process_index))
        started, losses, tokens = time.perf_counter(), [], 0
        for batch in epoch_batches(self.lengths, self.cfg.batch_size, self.seed, epoch, self.cfg.bucket):
            rate = self._set_learning_rate()
            loss, norm = self._step(batch)
            self.progress.step += 1
            if not math.isfinite(loss):
                raise RuntimeError(f"loss is {loss} at step {self.progress.step} (epoch {epoch + 1}): "
                                   f"lower trainer.learning_rate ({self.cfg.learning_rate:g}) or warm up longer")
            losses.append(loss)
            tokens += sum(self.lengths[i] for i in batch)
            speed = tokens / (time.perf_counter() - started)
            bar.set_postfix(epoch=epoch + 1, loss=f"{loss:.3f}", tokens_per_s=f"{speed:.0f}", refresh=False)
            bar.update()
            if self.progress.step % self.cfg.log_every == 0 or self.progress.step == self.steps:
                self.logger.log_step(self.progress.step, {"loss": loss, "learning_rate": rate, "gradient_norm": norm,
                                                          "tokens_per_second": speed})
        seconds = time.perf_counter() - started
        return {"loss": sum(losses) / len(losses), "learning_rate": rate, "tokens": tokens, "train_seconds": seconds}

    def _step(self, batch: list[int]) -> tuple[float, float]:
        """One optimizer step on one global batch: its mean loss and the gradient's norm before clipping."""
        accelerator = self.accelerator
        total = torch.zeros((), device=accelerator.device)
        weight = sum(self.task.weight(self.train_rows[i]) for i in batch)
        pieces = list(device_batches(batch, accelerator.process_index, accelerator.num_processes,
                                     self.cfg.device_batch_size))
        for number, piece in enumerate(pieces):
            inputs = self._collate([self.train_rows[i] for i in piece or batch[:1]])
            labels = inputs.pop("labels")
            last = number == len(pieces) - 1
            with self._gradients_exchanged(last):
                loss = self.task.loss(self.forward(**inputs).logits, labels, self.cfg.label_smoothing) / weight
                loss = loss if piece else 0 * loss
                # DDP averages gradients over processes; the loss is a sum over them
                accelerator.backward(loss * accelerator.num_processes)
            total += loss.detach()
        trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        limit = math.inf if self.cfg.gradient_clip is None else self.cfg.gradient_clip
        norm = accelerator.clip_grad_norm_(trained, limit)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return accelerator.reduce(total).item(), float(norm)  # type: ignore[union-attr, arg-type]

    @contextmanager
    def _gradients_exchanged(self, last: bool) -> Iterator[None]:
        """Gradients are exchanged between processes with the last piece of a batch only."""
        if last:
            yield
        else:
            with self.accelerator.no_sync(self.forward):
                yield

    def _set_learning_rate(self) -> float:
        """Set each group's rate for the coming step; returns the run's rate."""
        warmup = self.cfg.warmup_steps
        if warmup is None:
            warmup = math.ceil(self.cfg.warmup_ratio * self.steps)
        rate = self.cfg.learning_rate * schedule(self.cfg.schedule, self.progress.step, warmup, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["learning_rate_scale"]
        return rate

    def _collate(self, rows: Rows) -> dict[str, Tensor]:
        inputs = self.task.collate(rows, self.pad_token_id, self.padding_multiple)
        return {key: value.to(self.accelerator.device) for key, value in inputs.items()}

    def _evaluate(self) -> dict[str, Any]:
        """Metrics on every evaluation set, with the adapter merged where the method merges."""
        active = bank(self.model).active
        refused = active is None or bank(self.model).adapters[active].method.merge_refusal() is not None
        # weights held in fewer bits would round most of a small update away
        merges = not refused and self.cfg.frozen == "fp32"
        self.forward.eval()
        with unmerged_after(self.model, merges) as errors:
            self.progress.merge_error = {dtype: error.largest for dtype, error in errors.items()}
            predictions = {name: self._predict(rows) for name, rows in self.evaluation.items()}
        references = {name: [self.task.reference(row) for row in rows] for name, rows in self.evaluation.items()}
        return {"metrics": self.task.metrics(predictions, references), "collapsed": self.task.collapsed(predictions)}

    @torch.no_grad()
    def _predict(self, rows: Rows) -> list[Any]:
        """Predictions in the order of `rows`, computed by all processes together."""
        lengths = [len(row["input_ids"]) for row in rows]
        places, predictions = [], []
        batches = evaluation_batches(lengths, self.cfg.evaluation_batch_size)
        for batch in batches[self.accelerator.process_index::self.accelerator.num_processes]:
            inputs = self._collate([rows[i] for i in batch])
            labels = inputs.pop("labels")
            # the module under DDP: processes may have different numbers of batches here
            with self.accelerator.autocast():
                logits = self.model(**inputs).logits
            predictions.append(self.task.predictions(logits, labels))
            places.extend(batch)
        return self._gather(places, torch.cat(predictions) if predictions else torch.empty(0), len(rows))

    def _gather(self, places: list[int], predictions: Tensor, size: int) -> list[Any]:
        if self.accelerator.num_processes > 1:
            from accelerate.utils import gather_object

            pairs = gather_object(list(zip(places, predictions.tolist(), strict=True)))
        else:
            pairs = list(zip(places, predictions.tolist(), strict=True))
        by_place = dict(pairs)
        return [by_place[i] for i in range(size)]

    def _finish_epoch(self, entry: dict[str, Any]) -> None:
        """Enter an epoch into the history, keep it if it is the best so far, write the checkpoint."""
        progress = self.progress
        main = self.task.main_metric
        past = None if progress.best_epoch is None else progress.history[progress.best_epoch - 1]["metrics"][main]
        if past is None or math.isnan(past) or better(main, entry["metrics"][main], past):
            progress.best_epoch, progress.best = entry["epoch"], cpu_copy(adapter_tensors(self.model))
        progress.history.append(entry)
        progress.epoch = entry["epoch"]
        progress.seconds += entry["seconds"]
        plain = {key: value for key, value in entry.items() if key not in ("epoch", "metrics")}
        # a language model's metric is named as the training loss is
        named = {f"evaluation_{name}" if name in plain else name: value for name, value in entry["metrics"].items()}
        self.logger.log_epoch(entry["epoch"], plain | named)
        scores = ", ".join(f"{name} {value:.{decimals(name)}f}" for name, value in entry["metrics"].items())
        log.info("%s, epoch %d of %d: training loss %.4f, %s", self.logger.name, entry["epoch"], self.cfg.epochs,
                 entry["loss"], scores)
        if self.checkpoints is not None and self.accelerator.is_main_process:
            save_checkpoint(self.checkpoints, vars(progress) | {"tensors": cpu_copy(adapter_tensors(self.model)),
                                                                "optimizer": self.optimizer.state_dict()})

    def _resume(self) -> None:
        """Go on from the last finished epoch where there is a checkpoint."""
        state = None if self.checkpoints is None else load_checkpoint(self.checkpoints)
        if state is None:
            return
        load_tensors(self.model, state.pop("tensors"))
        self.optimizer.load_state_dict(state.pop("optimizer"))
        self.progress = Progress(**state)
        log.info("%s: resuming after epoch %d of %d", self.logger.name, self.progress.epoch, self.cfg.epochs)


def process_seed(seed: int, epoch: int, process: int) -> int:
    """Seed of one process's dropout in one epoch: the first 4 bytes of a sha256, the same on any Python."""
    return int.from_bytes(hashlib.sha256(f"dropout {seed} {epoch} {process}".encode()).digest()[:4], "big")


@contextmanager
def unmerged_after(model: nn.Module, merges: bool) -> Iterator[dict[str, MergeError]]:
    """Merged within the block, where asked; as before after it, also when the block fails. Yields merging's errors."""
    errors = merge(model) if merges else {}
    try:
        yield errors
    finally:
        if merges:
            unmerge(model)
