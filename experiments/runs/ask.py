"""Ask for a run: its values are checked and the store is asked before torch is imported.

    with asked(cfg) as request:
        if not request.done:
            compute(request)  # of experiments.runs.execute, which imports torch
    request.record
"""

import logging
import os
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from experiments.config.check import check_config
from experiments.config.compose import plain_dict
from experiments.config.entry import explain
from experiments.config.presets import differences, preset_row
from experiments.models.files import fetch
from experiments.runs.ending import tell
from experiments.runs.identity import all_seeds
from experiments.runs.source import find_source, warn_of_changed_source
from experiments.store.paths import PACKAGES
from experiments.store.store import RunRecord, Store, check_identity, git_state, now, versions
from experiments.tasks.base import TaskData, TextTask
from experiments.tasks.generation import Generation
from experiments.training.hardware import choose_device
from experiments.training.limits import check_trainer

log = logging.getLogger(__name__)


class Laps:
    """Seconds to the first step by what took them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to the lap of this name."""
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    @property
    def total(self) -> float:
        """Seconds of all laps."""
        return sum(self.seconds.values())

    def __str__(self) -> str:
        return f"{self.total:.1f} s ({', '.join(f'{name} {seconds:.1f}' for name, seconds in self.seconds.items())})"


@dataclass
class Request:
    """A run that was asked for: its resolved config, and its record, stored or begun."""

    cfg: DictConfig
    store: Store
    record: RunRecord
    done: bool  # the record is the stored one, and a result
    task: TextTask | Generation
    source: Path | None = None  # folder of the adapter to start from
    data: TaskData | None = None  # None where the run is done
    laps: Laps = field(default_factory=Laps)

    @contextmanager
    def failures_recorded(self) -> Iterator[None]:
        """Write what the block raises into the record, and raise it."""
        try:
            yield
        except Exception as error:
            self.record.status = "failed"
            self.record.error = {"type": type(error).__name__, "message": explain(error),
                                 "traceback": traceback.format_exc().replace(f"{PACKAGES}{os.sep}", "")}
            if is_main_process():
                self.store.write(self.record)
            raise


@contextmanager
def asked(cfg: DictConfig) -> Iterator[Request]:
    """The run that `cfg` describes, held against other processes within the block; its data is loaded unless done.

    Raises before anything is written for a setting, a model file or a source that is wrong; for data that is, the
    failure is recorded.
    """
    if not is_main_process():  # the first process speaks for all
        logging.getLogger("experiments").setLevel(logging.WARNING)
    check_config("train", plain_dict(cfg))
    check_trainer(cfg.trainer)
    if (differing := differences(cfg)) is not None:
        log.info("the paper | its authors' scripts differ here, preset=%s is used: %s", cfg.preset, differing)
    fetch(cfg.model)
    store, record = Store(cfg.store), new_record(cfg)
    OmegaConf.resolve(cfg := cfg.copy())
    request = Request(cfg, store, record, done=False, task=instantiate(cfg.task))
    if not _answered(request):  # a finished run can be asked for where nothing can be written
        store.check_writable()
        with store.lock(record.run) if is_main_process() else nullcontext():
            if not _answered(request):
                _begin(request)
            yield request
    else:
        yield request
    if is_main_process():
        tell(request.record, store)


def _answered(request: Request) -> bool:
    """True where the store has the result, which is now the request's record."""
    stored = _agreed(_stored(request) if is_main_process() else None, request.cfg.trainer.device)
    if stored is None:
        return False
    request.done = stored.finished_well and not request.cfg.overwrite
    if request.done:
        _tell_stored(stored, request.record, request.cfg)
        request.record = stored
    else:
        request.record.run = stored.run  # a record keeps the name that it has
    return request.done


def _stored(request: Request) -> RunRecord | None:
    """The record of the run in the store; a broken one is an error, unless it is to be overwritten."""
    try:
        stored = request.store.read(request.record.run)
    except ValueError as error:
        if not request.cfg.overwrite:
            raise
        log.warning("overwrites a record: %s", error)
        return None
    if stored is not None:
        check_identity(request.store.find(stored.run), stored, request.record.identity)
    return stored


def _begin(request: Request) -> None:
    """Find what a run needs that is to be computed; a fault of its data is recorded."""
    request.source = find_source(request.cfg)
    with request.failures_recorded(), request.laps("data"):
        request.data = request.task.load()


def new_record(cfg: DictConfig) -> RunRecord:
    """The record of a run that starts now."""
    commit, dirty = git_state()
    of_all = all_seeds(cfg)
    return RunRecord(run=of_all.name(cfg), identity=of_all.identity(cfg), setting=of_all.setting(cfg), status="failed",
                     seed=cfg.seed, config=plain_dict(cfg), preset=preset_row(cfg), commit=commit, dirty=dirty,
                     versions=versions(), started=now())


def is_main_process() -> bool:
    """True in the process that writes; torchrun and accelerate number the processes of a run."""
    return int(os.environ.get("RANK", "0")) == 0


def _agreed(stored: RunRecord | None, device: str) -> RunRecord | None:
    """The first process's answer in every process: another run may finish between two looks at the store."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return stored
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    PartialState(cpu=choose_device(device).type == "cpu")
    return broadcast_object_list([stored])[0]


def _tell_stored(stored: RunRecord, now: RunRecord, cfg: DictConfig) -> None:
    """Log that a run is done, and in what it may differ from the one that would be computed now."""
    log.info("%s is done: this is its stored result%s", stored.run,
             f" (of commit {stored.commit[:8]}, this code is {now.commit[:8]})"
             if stored.commit and now.commit and stored.commit != now.commit else "")
    if now.dirty:
        log.warning("this code has changes that are not committed, and runs are not named by them: overwrite=true "
                    "computes the run with them")
    warn_of_changed_source(stored, cfg)
