"""Runs in wandb: config, metrics of steps and epochs, tables, pictures, pages and the adapter, beside the store.

Offline by default: files under `<folder>/wandb`, nothing sent, `wandb sync` sends them later. Whatever goes
wrong in wandb is one warning, and the run goes on without what could not be logged.
"""

import functools
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from lora.errors import check_choice

if TYPE_CHECKING:
    from pandas import DataFrame
    from wandb import Run, Settings

log = logging.getLogger(__name__)
LONGEST = 128  # characters of an artifact's name
UNREAD = {  # variables of wandb whose value this library gives itself
    "WANDB_NAME": "a run is called there as in its store", "WANDB_JOB_TYPE": "it is train, sweep or report",
    "WANDB_TAGS": "logger.wandb.tags=[a,b] sets tags",
}
Arguments = ParamSpec("Arguments")


def check_logger(logger: DictConfig) -> None:
    """Raise ValueError for a wandb mode that does not exist."""
    check_choice("logger.wandb.mode", str(logger.wandb.mode), ("offline", "online", "disabled"))


def _guarded(
    method: Callable[Concatenate["Logger", Arguments], None],
) -> Callable[Concatenate["Logger", Arguments], None]:
    """A method that does nothing without a wandb run; of all that fail the first gives a warning."""

    @functools.wraps(method)
    def guarded(self: "Logger", *args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        if self._run is None:
            return
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            self._warn(error)

    return guarded


class Logger:
    """One wandb run named `run`, with the resolved `config`, under `folder`.

    `logger` is the config group: wandb.mode (offline, online or disabled; ValueError for any other), project,
    entity, group, tags, dir (null: `folder`). A job of a sweep has the sweep's folder as its group and its overrides
    as tags, where the config names none. `job_type` is wandb's word for a kind of run: train or sweep.
    """

    def __init__(
        self, logger: DictConfig, run: str, config: Mapping[str, Any], folder: Path, job_type: str = "train"
    ) -> None:
        check_logger(logger)
        self.name = run
        self._run: Run | None = None
        self._failed = False
        folder = folder if logger.wandb.dir is None else Path(logger.wandb.dir).expanduser()
        self.folder = folder if logger.wandb.mode == "offline" else None
        if logger.wandb.mode == "disabled":
            return
        try:
            self._run = _start(logger.wandb, run, config, folder, job_type)
        except Exception as error:
            self._warn(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(exit_code=0 if error is None else 1)

    @_guarded
    def log_step(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Metrics of one training step, as train/<name> over the axis train/step."""
        assert self._run is not None
        self._run.log({"train/step": step, **{f"train/{name}": value for name, value in metrics.items()}})

    @_guarded
    def log_epoch(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        """Metrics of one evaluation, as epoch/<name> over the axis epoch/epoch."""
        assert self._run is not None
        self._run.log({"epoch/epoch": epoch, **{f"epoch/{name}": value for name, value in metrics.items()}})

    @_guarded
    def log_adapter(self, folder: Path) -> None:
        """The adapter's files as an artifact named for the run; they are read where they lie, not copied."""
        import wandb

        assert self._run is not None
        artifact = wandb.Artifact(artifact_name(self.name), type="adapter", metadata={"run": self.name})
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            name = file.relative_to(folder).as_posix()
            artifact.add_file(str(file), name, skip_cache=True, policy="immutable")
        self._run.log_artifact(artifact)

    @_guarded
    def log_summary(self, record: Mapping[str, Any]) -> None:
        """The run's final figures."""
        assert self._run is not None
        self._run.summary.update(dict(record))

    @_guarded
    def log_table(self, name: str, table: "DataFrame") -> None:
        """A table under `name`; its empty cells stay empty."""
        import wandb

        assert self._run is not None
        cells = table.astype(object).where(table.notna(), None).to_numpy()
        self._run.log({name: wandb.Table(columns=[str(column) for column in table.columns], data=cells)})

    @_guarded
    def log_picture(self, name: str, file: Path) -> None:
        """A picture under `name`."""
        import wandb

        assert self._run is not None
        self._run.log({name: wandb.Image(str(file))})

    @_guarded
    def log_page(self, name: str, file: Path) -> None:
        """A self-contained HTML page under `name`."""
        import wandb

        assert self._run is not None
        page = file.read_text(encoding="utf-8")  # wandb takes a path for the page itself unless it ends in .html
        self._run.log({name: wandb.Html(page, inject=False, data_is_not_path=True)})

    @_guarded
    def close(self, exit_code: int = 0) -> None:
        """End the wandb run; anything logged later is dropped."""
        assert self._run is not None
        run, self._run = self._run, None
        run.finish(exit_code=exit_code)
        if self.folder is not None:
            _tell_how_to_sync(self.folder)

    def _warn(self, error: Exception) -> None:
        if not self._failed:
            log.warning("wandb failed, the run goes on without what it did not take: %s: %s", type(error).__name__,
                        str(error) or repr(error))
        self._failed = True


def artifact_name(run: str) -> str:
    """The run's name, of which wandb takes 128 characters: of a longer one the start, and the end with its identity."""
    return run if len(run) <= LONGEST else f"{run[:LONGEST - 42]}--{run[-40:]}"


@functools.cache  # once for all runs of a folder
def _tell_how_to_sync(folder: Path) -> None:
    log.info("wandb is offline: `wandb sync %s` sends what it has", folder / "wandb" / "offline-run-*")


@functools.cache  # once a process
def _tell_what_is_not_read() -> None:
    for variable, instead in UNREAD.items():
        if os.environ.get(variable):
            log.warning("the environment variable %s is not used: %s", variable, instead)


def _sweep() -> tuple[str | None, list[str]]:
    """Group and tags of a job of a sweep: the sweep's folder, and the overrides that say what is computed."""
    if not HydraConfig.initialized() or HydraConfig.get().mode is not RunMode.MULTIRUN:
        return None, []
    job = HydraConfig.get()
    aside = ("logger", "store", "overwrite")
    tags = [line for line in (line.lstrip("+") for line in job.overrides.task) if not line.startswith(aside)]
    return Path(job.sweep.dir).name, [tag[:64] for tag in tags]  # wandb refuses longer ones


def _start(settings: DictConfig, run: str, config: Mapping[str, Any], folder: Path, job_type: str) -> "Run":
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    _tell_what_is_not_read()
    group, tags = _sweep()
    started = wandb.init(
        mode=settings.mode,
        project=settings.project,
        entity=settings.entity,
        group=settings.group or group,
        tags=list(settings.tags) or tags,
        name=run,
        job_type=job_type,
        config=dict(config),
        dir=folder.resolve(),  # wandb writes from a service process, which may have another working folder
        settings=_quiet(),
    )
    for axis in ("train/step", "epoch/epoch"):
        started.define_metric(axis)
        started.define_metric(f"{axis.partition('/')[0]}/*", step_metric=axis)
    return started


def _quiet() -> "Settings":
    """No output, and none of what the run record holds already (machine, git, packages, code)."""
    import wandb

    return wandb.Settings(
        console="off",
        silent=True,
        reinit="create_new",  # runs of a sweep follow one another in one process
        disable_code=True,
        disable_git=True,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )
