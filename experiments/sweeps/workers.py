"""Runs in processes of their own (experiments.sweeps.worker), one after another in each: what a short run waits for
longest is its imports. If a worker crashes, the run that it had is lost, and a new worker takes the next.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from queue import SimpleQueue

from experiments.runs.identity import Run

ONE_THREAD = {  # for the libraries that take their number of threads from the environment
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), "1"),
    "TOKENIZERS_PARALLELISM": "false",
}
# runs, and how many at a time -> as each ends, its name, and '' or why it ended badly
Train = Callable[[list[Run], int], Iterable[tuple[str, str]]]


def train_apart(runs: list[Run], jobs: int) -> Iterator[tuple[str, str]]:
    """Train each run in a process apart, `jobs` at a time; as each ends, its name, and '' or why it ended badly.

    A crash of one, even of its interpreter, does not stop the others. Side by side, runs have one thread each, and what
    they print is not shown.
    """
    with _workers(min(jobs, len(runs)), alone=jobs == 1) as free, ThreadPoolExecutor(jobs) as pool:

        def train(run: Run) -> str:
            worker = free.get()
            try:
                return worker.train([*run.overrides, *([] if jobs == 1 else ["trainer.threads=1"])])
            finally:
                free.put(worker)

        futures = {pool.submit(train, run): run.name for run in runs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            for future in futures:
                future.cancel()


class Worker:
    """A process that trains what it is given; a new one after a crash."""

    def __init__(self, alone: bool) -> None:
        self.alone = alone
        self.process: subprocess.Popen[str] | None = None

    def train(self, overrides: list[str]) -> str:
        """'' or why the run ended badly."""
        process = self.process = self.process or self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):  # it has crashed: it gives no answer
            print(json.dumps(overrides), file=process.stdin, flush=True)
        if answer := process.stdout.readline():
            return str(json.loads(answer))
        self.process = None
        return " ".join([f"exit code {process.wait()}", *self._last_line()])

    def stop(self) -> None:
        """Let the process end, which has nothing more to do."""
        if self.process is not None:
            self.process.communicate()

    def _started(self) -> subprocess.Popen[str]:
        self.said = None if self.alone else tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process
        return subprocess.Popen([sys.executable, "-m", "experiments.sweeps.worker"], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=self.said, text=True,
                                env=None if self.alone else os.environ | ONE_THREAD)

    def _last_line(self) -> list[str]:
        """The last that a process said which is not there any more."""
        if self.said is None:
            return []
        with self.said:
            self.said.seek(0)
            return [line for line in self.said.read().splitlines() if line.strip()][-1:]


@contextmanager
def _workers(count: int, alone: bool) -> Iterator["SimpleQueue[Worker]"]:
    """So many workers, each to be taken and put back; none is left afterwards."""
    workers = [Worker(alone) for _ in range(count)]
    free: SimpleQueue[Worker] = SimpleQueue()
    for worker in workers:
        free.put(worker)
    try:
        yield free
    finally:
        for worker in workers:
            worker.stop()
