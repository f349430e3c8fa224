"""Ensure that a set of runs is in the store."""

import logging

from experiments.artifacts.plan import Slot
from experiments.runs.identity import Run
from experiments.store.store import RunRecord, Store

log = logging.getLogger(__name__)


def read(store: Store, slots: list[Slot]) -> tuple[dict[str, RunRecord], dict[str, str]]:
    """Records by run, and by run why a stored one gives no number: it failed, or cannot be read."""
    records: dict[str, RunRecord] = {}
    problems: dict[str, str] = {}
    runs = [run for slot in slots for run in slot.runs]
    for name in dict.fromkeys(run.name for run in [*runs, *(run.source for run in runs if run.source is not None)]):
        try:
            record = store.read(name)
        except (ValueError, TypeError) as error:
            log.warning("%s: skipped", error)
            problems[name] = f"unreadable: {error}"
            continue
        if record is not None and record.finished_well:
            records[name] = record
        elif record is not None:
            problems[name] = (record.error or {}).get("message", "no message")
    return records, problems


def lots(runs: list[Run]) -> list[list[Run]]:
    """The runs in the order of their training: those that start from none of the others, then the rest."""
    names = {run.name for run in runs}
    waits = [run.source is not None and run.source.name in names for run in runs]
    lots = [[run for run, later in zip(runs, waits, strict=True) if later is last] for last in (False, True)]
    return [lot for lot in lots if lot]
