"""A sweep's end: its jobs in one table, one JSON object, one wandb run; and each job's share of the cores.

`Summary` is a hydra callback (conf/hydra/output/store.yaml), called in the process that started the sweep
when every job, here or in a worker process, has left its `job<number>.json` (`experiments.config.entry.Job`).
"""

import json
import logging
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from experiments.config.entry import complain, exit_code
from experiments.store.files import json_line, write_atomic
from experiments.store.logger import Logger
from experiments.tables.text import print_rows, shown_score

log = logging.getLogger(__name__)


class Summary(Callback):
    """Ends a sweep with its table and its JSON line; the exit code is 1 if any job failed."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        try:  # hydra turns an exception of a callback into a warning: only SystemExit gets through
            folder = Path(config.hydra.sweep.dir)
            if not (jobs := read_jobs(folder)):
                raise ValueError("the sweep has no runs: a key's list of values is empty")
            record = summarize(jobs)
            write_atomic(folder / "summary.json", json_line(record) + "\n")
            print_table(record["runs"])
            log_to_wandb(config, folder, record)
        except Exception as error:
            sys.exit(complain(error, 1))
        print(json_line(record), flush=True)
        if exit_code(record):
            sys.exit(1)


def read_jobs(folder: Path) -> list[dict[str, Any]]:
    """The records of the jobs, in sweep order: {"job": number, "overrides": [...], "record": {...}}."""
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
    print_rows(columns, rows, labels=1)


def log_to_wandb(config: DictConfig, folder: Path, record: dict[str, Any]) -> None:
    """One wandb run of type `sweep` with the table of runs, in the group of its jobs, as `logger.wandb.mode` says."""
    if OmegaConf.select(config, "logger.wandb.mode") in (None, "disabled"):
        return
    import pandas

    columns, rows = table_rows(record["runs"])
    overrides = {"overrides": list(config.hydra.overrides.task)}
    group = config.logger.wandb.group or folder.name  # as each job has it
    settings = OmegaConf.merge(config.logger, {"wandb": {"group": group}})
    assert isinstance(settings, DictConfig)
    with Logger(settings, f"sweep-{folder.name}", overrides, folder, job_type="sweep") as logger:
        logger.log_table("runs", pandas.DataFrame(rows, columns=columns))
        logger.log_summary({key: value for key, value in record.items() if key != "runs"})
