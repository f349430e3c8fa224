"""A sweep's end: its jobs in one table, one JSON object, one wandb run; and each job's share of the cores.

`Summary` is a hydra callback (conf/hydra/output/store.yaml), called in the process that started the sweep
when every job, here or in a worker process, has left its `job<number>.json` (`experiments.entry.Job`).
"""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from experiments.entry import complain, exit_code, json_line
from experiments.files import write_atomic
from experiments.metrics import decimals

log = logging.getLogger(__name__)


def parallel_jobs(jobs: int) -> int:
    """The number of jobs at a time that `jobs` means: as joblib's, -1 is one a core; 0 is an error.

    Inside a launcher's job the cores are that job's share of them.
    """
    count = joblib_jobs(jobs)
    return max(1, count // jobs_beside()) if jobs < 0 else count


def joblib_jobs(jobs: int) -> int:
    """The number of jobs at a time that joblib's `n_jobs` means on the whole machine."""
    from joblib import cpu_count

    if not isinstance(jobs, int) or jobs == 0:
        raise ValueError(f"jobs {jobs!r} is not a whole number from 1, or below 0: -1 is one a core")
    return max(1, cpu_count() + 1 + jobs) if jobs < 0 else jobs


def jobs_beside() -> int:
    """How many jobs the launcher of this one runs at a time, this one counted; 1 outside a sweep."""
    if not HydraConfig.initialized() or HydraConfig.get().mode is not RunMode.MULTIRUN:
        return 1
    return joblib_jobs(HydraConfig.get().launcher.get("n_jobs", 1))


def threads_for_this_process(parameters: int | None = None) -> int:
    """This job's share of the cores: all of them over the launcher's parallel jobs, at least 1.

    A model of few `parameters` gets one thread: beside others it loses by more (experiments.hardware.FEW_PARAMETERS).
    OMP_NUM_THREADS, where it is set, is the most.
    """
    from joblib import cpu_count

    from experiments.hardware import FEW_PARAMETERS

    small = parameters is not None and parameters < FEW_PARAMETERS
    share = 1 if small else max(1, cpu_count() // jobs_beside())  # cpu_count heeds affinity and container limits
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(share, int(limit)) if limit.isdigit() and int(limit) > 0 else share


def take_threads(threads: int | None, parameters: int) -> int:
    """Give torch in this process so many threads, or by None its share of the cores; returns the number.

    With one thread, tokenizers too have no more.
    """
    import torch

    threads = threads_for_this_process(parameters) if threads is None else threads
    torch.set_num_threads(threads)
    if threads == 1:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return threads


class Summary(Callback):
    """Ends a sweep with its table and its JSON line; the exit code is 1 if any job failed."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        try:  # hydra turns an exception of a callback into a warning: only SystemExit gets through
            folder = Path(config.hydra.sweep.dir)
            record = summarize(read_jobs(folder))
            write_atomic(folder / "summary.json", json_line(record) + "\n")
            print_table(record["runs"])
            log_to_wandb(config, folder, record)
        except Exception as error:
            sys.exit(complain(error, 1))
        print(json_line(record), flush=True)
        if exit_code(record):
            sys.exit(1)


def read_jobs(folder: Path) -> list[dict[str, Any]]:
    """What the jobs wrote, in sweep order: {"job": number, "overrides": [...], "record": {...}}."""
    jobs = [json.loads(path.read_text(encoding="utf-8")) for path in folder.rglob("job*.json")]
    return sorted(jobs, key=lambda job: job["job"])


def summarize(jobs: list[dict[str, Any]]) -> dict[str, Any]:
    """{"runs": [...], "done", "failed", "collapsed"}: a run is its record and what was `swept`.

    A job whose record would end a single run with an error has failed.
    """
    everywhere = set.intersection(*(set(job["overrides"]) for job in jobs)) if jobs else set()
    runs = []
    for job in jobs:
        swept = [line.lstrip("+") for line in job["overrides"] if line not in everywhere]
        status = {"status": "failed"} if exit_code(job["record"]) else {}
        runs.append({"swept": dict(line.split("=", 1) for line in swept), "status": "done", **job["record"], **status})
    statuses = [run["status"] for run in runs]
    return {"runs": runs, **{status: statuses.count(status) for status in ("done", "failed", "collapsed")}}


def table_rows(runs: list[dict[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Column names and one row of values a run; a value that a run lacks is None."""
    swept = list(dict.fromkeys(key for run in runs for key in run["swept"]))
    figures = ["status", "score", "trainable", "seconds"]
    rows = [[run.get("run"), *map(run["swept"].get, swept), *map(run.get, figures)] for run in runs]
    return ["run", *swept, *figures], rows


def print_table(runs: list[dict[str, Any]]) -> None:
    """The sweep for people, on standard output above the JSON line."""
    columns, rows = table_rows(runs)
    score = columns.index("score")
    for row, run in zip(rows, runs, strict=True):
        row[score] = shown_score(run.get("main_metric"), row[score])
    print_rows(columns, rows)


def print_rows(columns: list[str], rows: list[list[Any]]) -> None:
    """A table of values on standard output; None is a dash."""
    from rich.table import Table
    from rich.text import Text

    from experiments.tables import console_for

    table = Table()
    for column in columns:
        table.add_column(Text(column))  # of a string, rich would take [q,v] for markup
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row))
    console_for(table).print(table)


def log_to_wandb(config: DictConfig, folder: Path, record: dict[str, Any]) -> None:
    """One wandb run of type `sweep` with the table of runs, as `logger.wandb.mode` says."""
    if OmegaConf.select(config, "logger.wandb.mode") in (None, "disabled"):
        return
    import pandas

    from experiments.logger import Logger

    columns, rows = table_rows(record["runs"])
    overrides = {"overrides": list(config.hydra.overrides.task)}
    with Logger(config.logger, f"sweep-{folder.name}", overrides, folder, job_type="sweep") as logger:
        logger.log_table("runs", pandas.DataFrame(rows, columns=columns))
        logger.log_summary({key: value for key, value in record.items() if key != "runs"})


def shown_score(metric: str | None, value: float | None) -> float | str | None:
    """A score, or its spread, to be shown: as text where its metric has other decimals than `cell` gives it."""
    digits = decimals(metric or "")
    return value if value is None or digits == 2 else f"{value:.{digits}f}"


def cell(value: Any) -> str:
    """A value of a table as text."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) >= 0.01 or value == 0 else f"{value:g}"
    return str(value)
