"""The pre-training loop: AdamW, a budget in tokens, stages of the corpus; it resumes from its last checkpoint.

Precision and attention are stated by the config, or chosen by timing a few steps of each on the run's own batches.
"""

from __future__ import annotations

import itertools
import logging
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig

from experiments.measure.rounds import processor_seconds, ratio, rounds
from experiments.models.architectures import attentions_of
from experiments.models.dropout import body_fields
from experiments.pretraining.cloze import accuracies, held_out_loss
from experiments.pretraining.language import Batch, Language, Stream, loss_sum
from experiments.store.checkpoint import load_checkpoint, save_checkpoint
from experiments.training.optimizer import make_optimizer
from lora.methods import ParameterGroup

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

ROUNDS = 5  # timed steps of each kind of arithmetic
log = logging.getLogger(__name__)


@dataclass
class PretrainingProgress:
    """Progress of a pre-training; a checkpoint also holds weights, optimizer and random state."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0        # training and evaluation
    train_seconds: float = 0.0
    losses: list[float] = field(default_factory=list)  # of the steps since the last measurement
    curve: list[dict[str, Any]] = field(default_factory=list)


def new_model(config: PreTrainedConfig, attention: str, dropout: float | None = None) -> PreTrainedModel:
    """A language model with weights drawn from torch's generator; `dropout` replaces the rates of the config."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

    fields = config.to_dict()
    if dropout is not None:
        fields |= dict.fromkeys(body_fields(fields), dropout)
    auto = AutoModelForCausalLM if config.model_type == "gpt2" else AutoModelForMaskedLM
    return auto.from_config(AutoConfig.for_model(**fields), attn_implementation=attention, trust_remote_code=False)


@torch.no_grad()
def begin_positions(model: PreTrainedModel, how: str | None) -> None:
    """Overwrite the position embeddings with sinusoids of the standard deviation of other weights; None: as drawn.

    With sinusoids (Vaswani et al. 2017, section 3.5) neighbouring positions are similar from the start.
    """
    if how is None:
        return
    embeddings = model.base_model.embeddings if hasattr(model.base_model, "embeddings") else None
    table = getattr(embeddings, "position_embeddings", None)
    if table is None:
        raise ValueError(f"positions={how}: a {model.config.model_type} model has no table of position embeddings")
    count, width = table.weight.shape
    rates = torch.exp(-math.log(10_000) * torch.arange(0, width, 2) / width)  # (width / 2,)
    angles = torch.arange(count)[:, None] * rates                             # (count, width / 2)
    waves = torch.stack([angles.sin(), angles.cos()], -1).reshape(count, width)
    table.weight.copy_(waves * model.config.initializer_range * math.sqrt(2))
    if table.padding_idx is not None:
        table.weight[table.padding_idx].zero_()


class Pretraining:
    """Trains `model` on the corpus of `language`.

    Its state is kept in the folder `checkpoints`, with `identity`: the run, and its precision and attention.
    """

    def __init__(self, cfg: DictConfig, model: PreTrainedModel, language: Language, checkpoints: Path,
                 identity: dict[str, Any]) -> None:
        self.cfg, self.model, self.language, self.checkpoints = cfg, model, language, checkpoints
        self.identity, self.precision = identity, identity["arithmetic"]["precision"]
        self.stream = Stream(language, cfg.batch_size, cfg.seed)
        group = ParameterGroup(name="model", parameters=dict(model.named_parameters()))
        self.optimizer = make_optimizer([group], cfg)
        self.held_out = language.held_out(cfg.held_out_documents, cfg.batch_size)
        self.probes = language.source.probes(cfg.probe_count)
        self.progress = PretrainingProgress()

    def fit(self) -> PretrainingProgress:
        """Train to the end of the budget, from the checkpoint if there is one."""
        self._resume()
        progress, cfg = self.progress, self.cfg
        while progress.tokens < cfg.tokens:
            started, before = time.perf_counter(), progress.tokens
            self._step()
            progress.train_seconds += time.perf_counter() - started
            if before // cfg.evaluate_every < progress.tokens // cfg.evaluate_every and progress.tokens < cfg.tokens:
                self.measure()
            progress.seconds += time.perf_counter() - started
            if before // cfg.checkpoint_every < progress.tokens // cfg.checkpoint_every:
                self._save()
        return progress

    def measure(self, model: PreTrainedModel | None = None) -> None:
        """Add held-out loss and probes to the curve and log them: of a finished `model`, or the one in training."""
        progress, count = self.progress, self.cfg.probe_count if model else self.cfg.probes_in_curve
        model = model or self.model
        probes = {kind: same_kind[:count] for kind, same_kind in self.probes.items()}
        loss, accuracy = held_out_loss(model, self.held_out), accuracies(model, self.language, probes)
        progress.curve.append({"tokens": progress.tokens, "step": progress.step,
                               "loss": statistics.mean(progress.losses) if progress.losses else None,
                               "held_out_loss": loss, "probes": accuracy})
        progress.losses.clear()
        speed = progress.tokens / progress.train_seconds
        left = max(0, self.cfg.tokens - progress.tokens) / speed / 60
        shares = " ".join(f"{kind} {value:.2f}" for kind, value in accuracy.items())
        log.info("%s: %.2fM of %.2fM tokens, %.0f tokens/s, %.1f min left; held-out loss %.3f; %s", self.cfg.model.name,
                 progress.tokens / 1e6, self.cfg.tokens / 1e6, speed, left, loss, shares)

    def _step(self) -> None:
        cfg, progress = self.cfg, self.progress
        done = progress.tokens / cfg.tokens
        for group in self.optimizer.param_groups:
            group["lr"] = cfg.learning_rate * trapezoid(done, cfg.warmup_ratio, cfg.decay_ratio)
        batch = self.stream.batch(progress.step, sum(done >= share for share in cfg.stages))
        loss = train_step(self.model, self.optimizer, batch, self.precision, cfg.gradient_clip)
        progress.step += 1
        progress.tokens += batch.tokens
        if not math.isfinite(loss):
            raise RuntimeError(f"loss is {loss} at step {progress.step}: lower learning_rate ({cfg.learning_rate:g})")
        progress.losses.append(loss)

    def _save(self) -> None:
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
                 "progress": asdict(self.progress)}
        save_checkpoint(self.checkpoints, state | self.identity)

    def _resume(self) -> None:
        state = load_checkpoint(self.checkpoints)
        if state is None:
            return
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = PretrainingProgress(**state["progress"])
        log.info("%s: resumes at %.2fM tokens", self.cfg.model.name, self.progress.tokens / 1e6)


def trapezoid(done: float, warmup: float, decay: float) -> float:
    """Share of the highest learning rate after `done` of the budget: linear warm-up, constant, linear decay."""
    return min(1.0, done / warmup if warmup else 1.0, (1 - done) / decay if decay else 1.0)


def train_step(model: PreTrainedModel, optimizer: torch.optim.Optimizer, batch: Batch, precision: str,
               clip: float) -> float:
    """One optimizer step on the mean loss of a batch, which is returned."""
    model.train()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        total, count = loss_sum(model, batch)
    loss = total / max(1, count)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def fastest(cfg: DictConfig, config: PreTrainedConfig, language: Language) -> tuple[str, str, dict[str, float]]:
    """(precision, attention, tokens per second of processor time of each pair that was timed).

    A choice that the config states is not timed. Other processes disturb wall-clock time, so processor time is
    measured. Each round takes one step of each pair on the same batch; the pair with the lowest median ratio to the
    first one's time wins.
    """
    precisions = ("fp32", "bf16") if cfg.precision == "auto" else (cfg.precision,)
    attentions = attentions_of(config.model_type) if cfg.attention == "auto" else (cfg.attention,)
    pairs = list(itertools.product(precisions, attentions))
    if len(pairs) == 1:
        return *pairs[0], {}
    stream = Stream(language, cfg.batch_size, cfg.seed)
    batches = [stream.batch(number, 0) for number in range(ROUNDS + 1)]  # the first one warms up
    steps = {f"{precision} {attention}": _trial(cfg, config, precision, attention, batches)
             for precision, attention in pairs}
    readings = rounds(steps, ROUNDS, processor_seconds)
    tokens = sum(batch.tokens for batch in batches[1:])
    speeds = {pair: tokens / sum(seconds) for pair, seconds in readings.items()}
    log.info("%s: tokens/s %s", cfg.model.name, ", ".join(f"{pair} {speed:.0f}" for pair, speed in speeds.items()))
    first = next(iter(steps))
    precision, attention = min(steps, key=lambda pair: ratio(readings, pair, first)).split()
    return precision, attention, speeds


def _trial(cfg: DictConfig, config: PreTrainedConfig, precision: str, attention: str,
           batches: list[Batch]) -> Callable[[], float]:
    """A step of a new model in this precision and attention; each call takes the next of the batches."""
    with torch.random.fork_rng():
        model = new_model(config, attention, cfg.dropout)
    optimizer = make_optimizer([ParameterGroup(name="model", parameters=dict(model.named_parameters()))], cfg)
    remaining = iter(batches)
    return lambda: train_step(model, optimizer, next(remaining), precision, cfg.gradient_clip)
