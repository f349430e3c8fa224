"""Ensure that a set of runs is in the store: train what is missing, then read again. Every set goes through here.

A run is missing without a record of a good end; where adapters are asked for, also without what it trained: records
are committed and adapters are not. What a missing run starts from is trained before it. A record that cannot be read
is never trained over.
"""

import logging
import time
from collections.abc import Collection, Mapping, Sequence

from experiments.runs.identity import Run
from experiments.store.store import RunRecord, Store, check_identity
from experiments.sweeps.workers import Train
from experiments.training.hardware import parallel_jobs

UNREADABLE_PREFIX = "unreadable: "  # how the problem of such a record begins
log = logging.getLogger(__name__)


def ensure(runs: Sequence[Run], store: Store, jobs: int, train: Train | None, asked: Collection[str] | None = None,
           adapters: bool = False) -> tuple[dict[str, RunRecord], dict[str, str]]:
    """The records of runs that ended well, by name, and why others gave none; sources of runs are among them.

    Before that, `train` computes what is missing, `jobs` at a time (-1: one a core): of all runs, or of those whose
    names are `asked`. Without `train` the store is only read. With `adapters` a done run needs its adapter too.
    """
    records, problems = read(runs, store)
    if train is None:
        return records, problems
    chosen = [run for run in runs if asked is None or run.name in asked]
    waiting = missing(chosen, records, problems, store, adapters)
    if not waiting:
        return records, problems
    store.check_writable()
    at_once = parallel_jobs(jobs)
    log.info("%d runs to train, %d at a time; %d are in %s", len(waiting), at_once, len(records), store.root)
    ended = _train(waiting, at_once, train)
    records, problems = read(runs, store)
    lost = {run.name for run in runs if run.name in records and adapters and not _kept(records[run.name], store)}
    problems = ended | problems  # in the order in which runs ended
    return records, {name: problems[name] for name in _names(runs)
                     if name in problems and (name not in records or name in lost)}


def read(runs: Sequence[Run], store: Store) -> tuple[dict[str, RunRecord], dict[str, str]]:
    """Records by run, and by run why a stored one gives no number: it failed, or cannot be read."""
    records: dict[str, RunRecord] = {}
    problems: dict[str, str] = {}
    identities = {run.name: run.identity for run in _with_sources(runs)}
    for name, file in store.find_all(_names(runs)).items():
        try:
            record = store.read_file(file)
            check_identity(file, record, identities[name] or record.identity)
        except (ValueError, TypeError) as error:
            log.warning("%s: skipped", error)
            problems[name] = f"{UNREADABLE_PREFIX}{error}"
            continue
        if record.finished_well:
            records[name] = record
        else:
            problems[name] = (record.error or {}).get("message", "no message")
    return records, problems


def _names(runs: Sequence[Run]) -> list[str]:
    """The names of runs and of those that they start from, each once."""
    return [*dict.fromkeys(run.name for run in _with_sources(runs))]


def _with_sources(runs: Sequence[Run]) -> list[Run]:
    """The runs, and those that they start from."""
    return [*runs, *(run.source for run in runs if run.source is not None)]


def missing(runs: Sequence[Run], records: Mapping[str, RunRecord], problems: Mapping[str, str], store: Store,
            adapters: bool) -> list[Run]:
    """The runs to train, each once, with those that one of them starts from."""
    def is_missing(run: Run, adapter: bool) -> bool:
        if run.name in records:
            return adapter and not _kept(records[run.name], store)
        return not problems.get(run.name, "").startswith(UNREADABLE_PREFIX)

    waiting = {run.name: run for run in runs if is_missing(run, adapters)}
    sources = {run.source.name: run.source for run in waiting.values() if run.source is not None}
    waiting = {name: run for name, run in sources.items() if is_missing(run, adapter=True)} | waiting
    return [run.again() if name in records else run for name, run in waiting.items()]


def lots(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs in the order of their training: those that start from none of the others, then the rest."""
    names = {run.name for run in runs}
    waits = [run.source is not None and run.source.name in names for run in runs]
    lots = [[run for run, later in zip(runs, waits, strict=True) if later is last] for last in (False, True)]
    return [lot for lot in lots if lot]


def _kept(record: RunRecord, store: Store) -> bool:
    """False for a done run whose adapter is not here; a collapsed one has none to wait for."""
    return record.status != "done" or store.has_adapter(record)


def _train(runs: Sequence[Run], jobs: int, train: Train) -> dict[str, str]:
    """Train the runs with a line of progress for each; why some ended badly, by name."""
    started, done, problems = time.monotonic(), 0, {}
    for lot in lots(runs):
        for name, problem in train(lot, jobs):
            done += 1
            left = (time.monotonic() - started) / done * (len(runs) - done)
            log.info("%d of %d: %s %s%s", done, len(runs), name, problem or "done", time_left(left))
            if problem:
                problems[name] = problem
    return problems


def time_left(seconds: float) -> str:
    """', 12 min left', '' where nothing is."""
    if seconds <= 0:
        return ""
    if seconds < 90:
        return f", {seconds:.0f} s left"
    return f", {seconds / 60:.0f} min left" if seconds < 5400 else f", {seconds / 3600:.1f} h left"
