"""Compute one run: train one method on one model, task and seed, and fill its record.

A killed run goes on from its last finished epoch. A failed one leaves a record with its error.
"""

import logging
from functools import partial
from itertools import chain
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from experiments.models.dropout import check_dropout
from experiments.models.load import load_base, load_tokenizer
from experiments.models.tokens import check_tokens
from experiments.runs.ask import Request, asked, is_main_process
from experiments.runs.start import check_source, start_from
from experiments.store.checkpoint import remove_checkpoint, seed_everything
from experiments.store.logger import Logger
from experiments.store.store import RunRecord
from experiments.training.hardware import describe, threads_for_this_process
from experiments.training.inputs import fit_rows
from experiments.training.trainer import Outcome, Trainer, check_device
from lora.adapter_file import save_adapter
from lora.bank import bank
from lora.limits import check_positions
from lora.methods import Method, ParameterGroup

Rows = list[dict[str, Any]]
log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> RunRecord:
    """The record of the run that `cfg` describes, computed unless the store has it; failures are recorded."""
    with asked(cfg) as request:
        if not request.done:
            compute(request)
    return request.record


def compute(request: Request) -> None:
    """Load, adapt, train, and fill the record of a run that is not done."""
    check_device(request.cfg.trainer)
    if request.source is not None:
        check_source(request.cfg.init_from, request.source, instantiate(request.cfg.method))
    with request.failures_recorded():
        _compute(request)


def _compute(request: Request) -> None:
    cfg, record, laps = request.cfg, request.record, request.laps
    with laps("data"):
        tokenizer = load_tokenizer(cfg.model)
        train, evaluation = _encoded(request, tokenizer)
    with laps("model"):
        method = instantiate(cfg.method)
        seed_everything(cfg.seed)  # before the head and the adapter are made
        model, record.new_tensors = load_base(cfg.model, request.task.kind, request.task.num_labels,
                                              request.task.labels)
        check_dropout(cfg.model, model)
        rows = [*train, *chain(*evaluation.values())]
        fit_rows(model, tokenizer, rows)
        groups = _adapted(request, method, model, tokenizer, rows)
        _set_threads(record, cfg.trainer.threads)
    checkpoints = request.store.checkpoint_folder(record.run) if cfg.trainer.save_checkpoints else None
    if cfg.overwrite and checkpoints is not None:
        remove_checkpoint(checkpoints)
    with laps("logger"):
        logger = Logger(cfg.logger if is_main_process() else _silent(cfg.logger), record.run, record.config,
                        request.store.root)
    with logger:
        with laps("trainer"):
            trainer = Trainer(cfg.trainer, model, groups, request.task, train, evaluation, seed=cfg.seed,
                              pad_token_id=tokenizer.pad_token_id, logger=logger, checkpoints=checkpoints)
        log.info("%s: ready after %s", record.run, laps)
        record.ready_seconds = laps.total
        _enter(record, trainer.fit(), trainer.accelerator.device)
        if is_main_process():
            _keep(request, model, logger)
    if checkpoints is not None and is_main_process():
        remove_checkpoint(checkpoints)


def _encoded(request: Request, tokenizer: PreTrainedTokenizerBase) -> tuple[Rows, dict[str, Rows]]:
    """Rows to train on, and to evaluate on by set, as tokens."""
    assert request.data is not None
    encode = partial(request.task.encode, tokenizer=tokenizer, max_length=request.cfg.trainer.max_length)
    return encode(request.data.train), {name: encode(table) for name, table in request.data.evaluation.items()}


def _adapted(request: Request, method: Method, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase,
             rows: Rows) -> list[ParameterGroup]:
    """Bring the method into the model, started from its source; returns what trains."""
    cfg, record = request.cfg, request.record
    check_tokens(tokenizer, model, rows)
    check_positions(model.config, "trainer.max_length", cfg.trainer.max_length, method.positions(), method.name)
    groups = method.apply(model, pooler=cfg.model.pooler)
    request.task.check_separators(rows, tokenizer, bank(model).adapters["default"].method.separators())
    record.init_from = start_from(request.source, model, cfg.model.name)
    _count(record, model, groups)
    return groups


def _set_threads(record: RunRecord, threads: int | None) -> None:
    """Give torch the threads that conf/trainer names, or this process's share of the cores."""
    record.threads = threads or threads_for_this_process(record.total)
    torch.set_num_threads(record.threads)


def _count(record: RunRecord, model: PreTrainedModel, groups: list[ParameterGroup]) -> None:
    """Enter the numbers of parameters, head apart."""
    sizes = {True: 0, False: 0}
    for group in groups:
        sizes[group.head] += sum(p.numel() for p in group.parameters.values())
    record.total = sum(p.numel() for p in model.parameters())
    record.trainable, record.head = sizes[False], sizes[True]
    log.info("%s trains %d parameters and a head of %d, of %d", record.run, record.trainable, record.head, record.total)


def _enter(record: RunRecord, outcome: Outcome, device: torch.device) -> None:
    """Enter what the training gave."""
    record.status = "collapsed" if outcome.collapsed else "done"
    for key in ("history", "best_epoch", "metrics", "score", "seconds", "tokens_per_second", "peak_memory_mb",
                "precision", "merge_error"):
        setattr(record, key, getattr(outcome, key))
    record.device = describe(device, outcome.processes)


def _keep(request: Request, model: PreTrainedModel, logger: Logger) -> None:
    """Write the adapter and the record, and give the logger the same."""
    cfg, record, store = request.cfg, request.record, request.store
    if cfg.trainer.save_adapter:
        folder = store.adapter_folder(record.run)
        base = {key: cfg.model[key] for key in ("name", "path", "package", "revision")}
        extra = {"run": record.run, "setting": record.setting, "task": cfg.task.name, "score": record.score}
        save_adapter(model, folder, base=base, extra=extra)
        record.adapter = str(folder.relative_to(store.root))
        logger.log_adapter(folder)
    store.write(record)
    logger.log_summary(record.summary())


def _silent(logger: DictConfig) -> DictConfig:
    """The logger of a process that is not the first."""
    silent = OmegaConf.merge(logger, {"wandb": {"mode": "disabled"}})
    assert isinstance(silent, DictConfig)
    return silent
