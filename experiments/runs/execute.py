"""Execute one run: train one method on one model, task and seed, or return the stored record.

The store is asked first: a run whose record is there is not computed again. A killed run goes on from its last
finished epoch. A failed one leaves a record with its error.
"""

import logging
import os
import time
import traceback
from contextlib import nullcontext
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from experiments.config.entry import explain
from experiments.config.presets import differences
from experiments.runs.identity import _name, identity
from experiments.runs.start import find_source, start_from, warn_of_changed_source
from experiments.store.logger import check_logger
from experiments.store.paths import CONF
from experiments.store.store import RunRecord, Store, git_state, now, versions
from lora.errors import check_whole


def new_record(cfg: DictConfig) -> RunRecord:
    """The record of a run that starts now."""
    from experiments.config.presets import preset_row

    config = OmegaConf.to_container(cfg, resolve=True)
    commit, dirty = git_state()
    digest = identity(cfg)
    return RunRecord(run=_name(cfg, digest), identity=digest, status="failed", seed=cfg.seed,
                     config=config, preset=preset_row(cfg), commit=commit, dirty=dirty,  # type: ignore[arg-type]
                     versions=versions(), started=now())


log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> RunRecord:
    """The record of the run that `cfg` describes, computed unless the store has it; failures are recorded."""
    laps = Laps(time.time())
    from experiments.training.trainer import check_trainer

    laps.mark("imports")
    check_whole("seed", cfg.seed, 0)
    check_trainer(cfg.trainer)
    check_logger(cfg.logger)
    if (differing := differences(cfg)) is not None:
        log.info("the paper | its authors' scripts differ here, preset=%s is used: %s", cfg.preset, differing)
    store = Store(cfg.store)
    store.check_writable()
    record = new_record(cfg)
    with store.lock(record.run) if _is_main_process() else nullcontext():
        stored = _agreed(store.read(record.run) if _is_main_process() else None, cfg.trainer.device)
        if stored is not None and stored.finished_well and not cfg.overwrite:
            log.info("%s is done: this is its stored result", stored.run)
            warn_of_changed_source(stored, cfg)
            return stored
        source = find_source(cfg)
        try:
            _compute(cfg, record, store, laps, source)
        except Exception as error:
            record.status = "failed"
            record.error = {"type": type(error).__name__, "message": explain(error),
                            "traceback": traceback.format_exc().replace(f"{CONF.parent}{os.sep}", "")}
            if _is_main_process():
                store.write(record)
            raise
    return record


def _agreed(stored: RunRecord | None, device: str) -> RunRecord | None:
    """The first process's answer in every process: another run may finish between two looks at the store."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return stored
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    from experiments.training.hardware import choose_device

    PartialState(cpu=choose_device(device).type == "cpu")
    return broadcast_object_list([stored])[0]


def _is_main_process() -> bool:
    """Whether this process is the one that writes; torchrun and accelerate number the processes of a run."""
    return int(os.environ.get("RANK", "0")) == 0


def _compute(cfg: DictConfig, record: RunRecord, store: Store, laps: "Laps", source: Path | None) -> None:
    """Load, adapt, train, and fill the record."""
    import torch

    from experiments.models.load import load_model, load_tokenizer
    from experiments.store.checkpoint import remove_checkpoint, seed_everything
    from experiments.store.logger import Logger
    from experiments.training.hardware import threads_for_this_process
    from experiments.training.trainer import Trainer
    from lora.bank import bank
    from lora.limits import check_positions

    laps.mark("identity")
    task, method = instantiate(cfg.task), instantiate(cfg.method)
    data, tokenizer = task.load(), load_tokenizer(cfg.model)
    encode = partial(task.encode, tokenizer=tokenizer, max_length=cfg.trainer.max_length)
    train, evaluation = encode(data.train), {name: encode(table) for name, table in data.evaluation.items()}
    laps.mark("data")
    seed_everything(cfg.seed)  # before the head and the adapter are made
    model = load_model(cfg.model, task.kind, task.num_labels, task.labels)
    check_positions(model.config, "trainer.max_length", cfg.trainer.max_length, method.positions(), method.name)
    groups = method.apply(model, pooler=cfg.model.pooler)
    rows = [*train, *chain(*evaluation.values())]
    task.check_separators(rows, tokenizer, bank(model).adapters["default"].method.separators())
    record.init_from = start_from(source, model, cfg.model.name)
    _count(record, model, groups)
    record.threads = cfg.trainer.threads or threads_for_this_process(record.total)
    torch.set_num_threads(record.threads)
    laps.mark("model")
    checkpoints = store.checkpoint_folder(record.run) if cfg.trainer.save_checkpoints else None
    if cfg.overwrite and checkpoints is not None:
        remove_checkpoint(checkpoints)
    logger_config = cfg.logger if _is_main_process() else _silent(cfg.logger)
    with Logger(logger_config, record.run, record.config, store.root) as logger:
        trainer = Trainer(cfg.trainer, model, groups, task, train, evaluation, seed=cfg.seed,
                          pad_token_id=tokenizer.pad_token_id, logger=logger, checkpoints=checkpoints)
        laps.mark("logger and trainer")
        log.info("%s: ready after %s", record.run, laps)
        record.ready_seconds = sum(laps.laps.values()) - laps.laps["imports"]
        _enter(record, trainer.fit(), trainer.accelerator.device)
        if _is_main_process():
            _keep(cfg, record, store, model, logger)
    if checkpoints is not None and _is_main_process():
        remove_checkpoint(checkpoints)


class Laps:
    """Seconds to the first step by what took them, from the start of the process in its first run."""

    first_run = True

    def __init__(self, started: float) -> None:
        import psutil

        self.started = psutil.Process().create_time() if Laps.first_run else started
        Laps.first_run = False
        self.laps: dict[str, float] = {"start-up": time.time() - self.started}

    def mark(self, what: str) -> None:
        """End a lap."""
        self.laps[what] = time.time() - self.started - sum(self.laps.values())

    def __str__(self) -> str:
        parts = ", ".join(f"{what} {seconds:.1f}" for what, seconds in self.laps.items())
        return f"{sum(self.laps.values()):.1f} s ({parts})"


def _count(record: RunRecord, model: Any, groups: list[Any]) -> None:
    """Enter the numbers of parameters, head apart."""
    sizes = {True: 0, False: 0}
    for group in groups:
        sizes[group.head] += sum(p.numel() for p in group.parameters.values())
    record.total = sum(p.numel() for p in model.parameters())
    record.trainable, record.head = sizes[False], sizes[True]
    log.info("%s trains %d parameters and a head of %d, of %d", record.run, record.trainable, record.head, record.total)


def _enter(record: RunRecord, outcome: Any, device: Any) -> None:
    """Enter what the training gave."""
    from experiments.training.hardware import describe

    record.status = "collapsed" if outcome.collapsed else "done"
    for key in ("history", "best_epoch", "metrics", "score", "seconds", "tokens_per_second", "peak_memory_mb",
                "precision", "merge_error"):
        setattr(record, key, getattr(outcome, key))
    record.device = describe(device, outcome.processes)


def _keep(cfg: DictConfig, record: RunRecord, store: Store, model: Any, logger: Any) -> None:
    """Write the adapter and the record, and give the logger the same."""
    from lora.adapter_file import save_adapter

    if cfg.trainer.save_adapter:
        folder = store.adapter_folder(record.run)
        base = {key: cfg.model[key] for key in ("name", "path", "package", "revision")}
        save_adapter(model, folder, base=base, extra={"run": record.run, "task": cfg.task.name, "score": record.score})
        record.adapter = str(folder.relative_to(store.root))
        logger.log_adapter(folder)
    store.write(record)
    logger.log_summary(record.summary())


def _silent(logger: DictConfig) -> DictConfig:
    """The logger of a process that is not the first."""
    from omegaconf import OmegaConf

    silent = OmegaConf.merge(logger, {"wandb": {"mode": "disabled"}})
    assert isinstance(silent, DictConfig)
    return silent
