"""The store of finished runs: one JSON file a run, found by the identity of its resolved config.

    <store>/runs/<run>.json          the record, RunRecord below; older ones have no size and targets in their names
    <store>/adapters/<run>/          what the run trained (lora.adapter_file)
    <store>/checkpoints/<run>/       state of a run in progress, removed when it is done
    <store>/locks/, sweeps/          working files

A record carries a checksum of itself (experiments.store.checksum).

A run is a function of its resolved config, so its identity is a hash of what can change its result: paths, logging
and hardware are left out, and a model or data set in a folder is named by its content.
"""

import json
import logging
import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.store.checksum import KEY, broken, checksum, read_record
from experiments.store.files import check_writable, plain, write_atomic
from experiments.store.leftovers import remove_leftovers
from experiments.store.paths import PACKAGES, ROOT

if TYPE_CHECKING:
    from filelock import FileLock

SCHEMA = 1
LIBRARIES = ("lora-lab", "torch", "transformers", "accelerate", "datasets", "numpy")
log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class RunRecord:
    """Everything that is kept of one run. Scores and metrics are in the units that the paper prints."""

    schema: int = SCHEMA
    run: str                              # name: task-model-method-size-targets-seed-identity
    identity: str                         # sha256 over what can change the result
    setting: str = ""                     # the same without the seed: runs of one setting are one line of a table
    status: str                           # done | collapsed (constant predictions, a loss not finite) | failed
    config: dict[str, Any]                # the resolved config
    preset: dict[str, Any] | None = None  # name, source and values of the preset row that filled the config
    init_from: dict[str, Any] | None = None  # run, task, score and sha256 of the adapter that training started from
    seed: int
    commit: str | None = None             # of the code, None outside a git checkout
    dirty: bool | None = None             # whether code or configs differed from that commit, or were not in it
    versions: dict[str, str] = field(default_factory=dict)
    device: str = ""                      # kind of device and number of processes
    threads: int = 0
    precision: str = ""                   # what ran: fp32 | bf16
    score: float | None = None            # the task's main metric at the best epoch
    metrics: dict[str, float] = field(default_factory=dict)        # every metric at the best epoch
    best_epoch: int | None = None         # counted from 1
    history: list[dict[str, Any]] = field(default_factory=list)    # one entry an epoch
    total: int | None = None              # parameters of the adapted model
    trainable: int | None = None          # trained by the method, head excluded
    head: int | None = None               # parameters of the task head
    new_tensors: list[str] | None = None  # drawn from the seed, not read: an output layer always is; None: not recorded
    seconds: float | None = None          # wall clock of training and evaluation
    ready_seconds: float | None = None    # making data, model and trainer, up to the first step; imports left out
    tokens_per_second: float | None = None  # real tokens (no padding) through training, evaluation excluded
    peak_memory_mb: float | None = None   # resident set on a CPU, allocated on a GPU
    merge_error: dict[str, float] | None = None  # largest error of merged weights at the last evaluation, by dtype
    adapter: str | None = None            # folder below the store
    error: dict[str, str] | None = None   # type, message and traceback of a failed run
    started: str = ""                     # UTC, ISO 8601
    finished: str = ""

    @property
    def finished_well(self) -> bool:
        """True if the run need not be computed again."""
        return self.status in ("done", "collapsed")

    def summary(self) -> dict[str, Any]:
        """The record without its long parts, as entry points print it, and what its score is."""
        kept = {key: value for key, value in asdict(self).items()
                if key not in ("config", "history", "versions", "identity", "setting", "schema", "preset",
                               "new_tensors")
                and not (key in ("error", "init_from") and value is None)}
        return kept | {"main_metric": self.config.get("task", {}).get("main_metric")}


def check_identity(file: Path | None, record: RunRecord, identity: str) -> None:
    """Raise ValueError for a record of another identity than that of the run, whose first digits alone are named."""
    if record.identity != identity:
        raise ValueError(f"{file} is of another run, whose identity begins with the same digits: {record.identity}, "
                         f"not {identity}; use another store")


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Store:
    """Records, adapters and checkpoints of runs in one folder; safe to share between processes."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def path(self, run: str) -> Path:
        return self.root / "runs" / f"{run}.json"

    def find(self, run: str) -> Path | None:
        """The record's file, which may be named without the size and targets that `run` states; None without one."""
        return path if (path := self.path(run)).is_file() else self.find_all([run]).get(run)

    def find_all(self, runs: Iterable[str]) -> dict[str, Path]:
        """The files of those runs that have a record, as `find` has them, from one look at the folder."""
        files = {file.stem: file for file in (self.root / "runs").glob("*.json")}
        alike: dict[str, list[str]] = {}
        for stem in files:
            alike.setdefault(stem.rpartition("-")[2], []).append(stem)
        stems = {run: run if run in files else next(
            (stem for stem in alike.get(run.rpartition("-")[2], ()) if run_key(stem) == run_key(run)), None)
            for run in runs}
        return {run: files[stem] for run, stem in stems.items() if stem is not None}

    def is_empty(self) -> bool:
        """True without any record."""
        return not any((self.root / "runs").glob("*.json"))

    def adapter_folder(self, run: str) -> Path:
        record = self.find(run)
        return self.root / "adapters" / (run if record is None else record.stem)

    def has_adapter(self, record: RunRecord) -> bool:
        """True if the adapter of a run is here: records are committed and adapters are not."""
        return record.adapter is not None and (self.root / record.adapter).is_dir()

    def checkpoint_folder(self, run: str) -> Path:
        return self.root / "checkpoints" / run

    def read(self, run: str) -> RunRecord | None:
        """The record of `run`, or None. Raises ValueError where the file is no record of this schema."""
        path = self.find(run)
        return None if path is None else self.read_file(path)

    def all(self) -> list[RunRecord]:
        """Every record, by name, without those that `read_all` leaves out."""
        return self.read_all()[0]

    def read_all(self) -> tuple[list[RunRecord], list[str]]:
        """Every record, by name, and why files are left out: not as they were written, or an identity's second one."""
        records: list[RunRecord] = []
        left_out: list[str] = []
        for path in sorted((self.root / "runs").glob("*.json")):
            try:
                records.append(self.read_file(path))
            except ValueError as error:
                left_out.append(str(error))
        by_identity = {record.identity: record for record in sorted(records, key=lambda record: len(record.run))}
        for record in records[:]:
            if record.identity and (kept := by_identity[record.identity]) is not record:
                records.remove(record)
                left_out.append(f"{self.path(record.run)} is a second record of the run {kept.run}; remove the file")
        for why in left_out:
            log.warning("%s", why)
        return records, left_out

    def read_file(self, path: Path) -> RunRecord:
        """The record in a file; ValueError where it is no record of this schema."""
        data = read_record(path, SCHEMA)
        if unknown := sorted(data.keys() - {field.name for field in fields(RunRecord)}):
            raise broken(path, f"has unknown fields {unknown}")
        try:
            return RunRecord(**data)
        except TypeError as error:
            raise broken(path, f"is not a run record: {error}") from None

    def write(self, record: RunRecord) -> Path:
        """Write a record whole or not at all."""
        record.finished = now()
        data = plain(asdict(record))
        return write_atomic(self.path(record.run), json.dumps(data | {KEY: checksum(data)}, indent=1) + "\n")

    def check_writable(self) -> None:
        """Raise OSError naming the folder before any work where the store cannot be written."""
        check_writable(f"store {self.root}", self.root / "runs")

    @contextmanager
    def lock(self, run: str) -> Iterator[None]:
        """Hold the run, so that two processes never compute it at once; the second waits for the first."""
        from filelock import Timeout

        lock = self._lock(run)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("%s is being computed by another process: waiting for it", run)
            lock.acquire()
        try:
            remove_leftovers(self.root, run, self._is_free)
            yield
        finally:
            lock.release()

    @contextmanager
    def _is_free(self, run: str) -> Iterator[bool]:
        """Hold the run where no process does; False where one does."""
        from filelock import Timeout

        lock = self._lock(run)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def _lock(self, run: str) -> "FileLock":
        from filelock import FileLock

        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{run}.lock")


def run_key(run: str) -> str:
    """A run's name without its method's size and targets, as identities of runs that start from it have it."""
    words = run.split("-")
    named = len(words) > 5 and re.fullmatch(r"seed\d+-[0-9a-f]{8}", "-".join(words[-2:]))
    return "-".join([*words[:3], *words[-2:]]) if named else run


def git_state() -> tuple[str | None, bool | None]:
    """Commit of this code and whether its files differ from it; None and None outside a checkout."""
    if ROOT != PACKAGES:  # installed from a wheel, perhaps inside another repository
        return None, None

    def git(*words: str) -> str:
        process = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True)
        return process.stdout.strip()

    try:
        changes = git("status", "--porcelain", "-unormal", "--", "lora", "experiments", "conf")
        return git("rev-parse", "HEAD"), bool(changes)
    except (OSError, subprocess.CalledProcessError):
        return None, None


def versions() -> dict[str, str]:
    """Version of each library that a result depends on."""
    installed = {}
    for library in LIBRARIES:
        try:
            installed[library] = version(library)
        except PackageNotFoundError:
            installed[library] = "not installed"
    return installed
