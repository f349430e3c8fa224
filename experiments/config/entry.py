"""The frame of every command: its config, one JSON object on the last line, errors without a traceback.

An entry point is a function from the composed config to a record:

    @entry("train", examples=["python -m experiments.train model=minilm task=mrpc method=lora seed=0"])
    def main(cfg: DictConfig) -> dict[str, Any]:
        \"\"\"Train one method on one task.\"\"\"

    if __name__ == "__main__":
        main()

Exit codes: 0; 1 an error, or a record with `failed` above 0 or with `left_out`; 2 a misspelt command line; 130
interrupted.
After an error the JSON object is {"status": "failed", "error": message}; the message is on standard error too.

Of Hydra's internals this file and overrides.py use `_run_hydra`, `get_args_parser`, `create_config_search_path` and
`ConfigLoaderImpl`: `hydra.main` prints errors as tracebacks, and has no hook before it composes. So pyproject.toml
pins the minor version of hydra-core, and tests/experiments/config/test_hydra.py names all that is used.
"""

import functools
import importlib
import importlib.metadata
import inspect
import logging
import math
import os
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn

from hydra import version
from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import env_override
from hydra.errors import HydraException, InstantiationException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException, UnsupportedInterpolationType

from experiments.config import resolvers  # noqa: F401 - it registers the resolvers of conf/
from experiments.config.check import check_config
from experiments.config.compose import plain_dict
from experiments.config.overrides import CommandLine
from experiments.config.search_path import search_path, searching
from experiments.store.files import json_line, write_atomic
from experiments.store.paths import CONF

TRACEBACK = "LORA_LAB_TRACEBACK"  # 1 shows where an error came from
Function = Callable[[DictConfig], Mapping[str, Any] | None]  # None: another process speaks for this one
Main = Callable[[], None]
FORESEEN = (ValueError, OSError, RuntimeError, ImportError, OmegaConfBaseException)  # the message says it
log = logging.getLogger(__name__)


def entry(config_name: str, *, examples: Sequence[str], conf: Path = CONF) -> Callable[[Function], Main]:
    """Make a function an entry point on `<conf>/<config_name>.yaml`; --help begins with its docstring."""

    def decorate(function: Function) -> Main:
        @functools.wraps(function)
        def main() -> None:
            if code := _launch(main, config_name, conf, examples):
                sys.exit(code)

        return main

    return decorate


class Job:
    """The function that hydra calls for each run: it never raises, so that one failed job does not stop a sweep.

    A single run keeps its record or error here; a job of a sweep, which may be in a worker process, writes it
    to `job<number>.json` in the sweep's folder, from where `experiments.sweeps.summary` reads it.
    """

    def __init__(self, main: Main, command: str | None = None) -> None:
        self.main = main
        self.command = command  # whose keys are checked
        self.added = search_path()  # a launcher's processes may be on another machine, with another environment
        self.record: Mapping[str, Any] | None = None
        self.error: Exception | None = None

    def __call__(self, cfg: DictConfig) -> Any:
        """The score of the run, which a sweeper may optimise."""
        function: Function = inspect.unwrap(self.main)  # type: ignore[assignment]
        try:
            with searching(self.added):
                if self.command is not None:
                    check_config(self.command, plain_dict(cfg))
                self.record, self.error = function(cfg), None
        except Exception as error:
            self.record, self.error = None, error
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            self._write()
        return _objective((self.record or {}).get("score"))

    def _write(self) -> None:
        job = HydraConfig.get()
        record = dict(self.record or {})
        if self.error is not None:
            record = failure(self.error)
            log.error("job %d (%s) failed: %s", job.job.num, " ".join(job.overrides.task), record["error"])
        written = {"job": job.job.num, "overrides": list(job.overrides.task), "record": record}
        write_atomic(Path(job.runtime.output_dir) / f"job{job.job.num}.json", json_line(written) + "\n")


def _objective(score: float | None) -> float | None:
    """What a sweeper is given for a score: where there is none, the worst in its direction, if it has one direction.

    Optuna's sweeper ends the sweep at None and at NaN.
    """
    config: Any = HydraConfig.get()
    direction = OmegaConf.select(config, "sweeper.direction")
    if score is not None and not math.isnan(score):
        return score
    return {"maximize": -math.inf, "minimize": math.inf}.get(getattr(direction, "name", str(direction)), score)


def explain(error: Exception) -> str:
    """The message for a person; LORA_LAB_TRACEBACK=1 has the traceback printed to standard error too."""
    if os.environ.get(TRACEBACK) == "1":
        traceback.print_exception(error)
    cause = error.__cause__
    if isinstance(error, InstantiationException) and isinstance(cause, Exception):
        return explain(cause)
    if isinstance(error, HydraException):
        return "\n".join(str(part) for part in (error, cause) if part is not None and str(part))
    if isinstance(error, InterpolationKeyError | UnsupportedInterpolationType):
        return (f"{str(error).splitlines()[0]}: in a value, here of {error.full_key or 'the command line'}, ${{...}} "
                "stands for that of another key; a path with it in its name cannot be given, a link to it can")
    if isinstance(error, FORESEEN) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}"


def failure(error: Exception) -> dict[str, str]:
    """The record of a run or command that ended with an error."""
    return {"status": "failed", "error": explain(error)}


def exit_code(record: Mapping[str, Any]) -> int:
    """1 where the record counts failed runs, or names records that were left out, else 0."""
    return 1 if record.get("failed") or record.get("left_out") else 0


def _launch(main: Main, config_name: str, conf: Path, examples: Sequence[str]) -> int:
    """Check the command line, run hydra, print the record; returns the exit code."""
    version.setbase(None)  # the installed hydra's own behaviour: jobs stay in the caller's folder
    try:
        _check_installed(conf)
        args = _parsed()
        name = args.config_name or config_name
        command = config_name if conf == CONF else None
        if args.hydra_help or args.shell_completion or args.config_path:
            return _run(main, args, name, conf, command)
        line = CommandLine(name, conf, args.overrides, args.config_dir)
        with searching(line.added):
            if args.help:
                module = getattr(sys.modules["__main__"].__spec__, "name", main.__module__)
                print(line.help(module, inspect.getdoc(main) or "", examples), flush=True)
                return 0
            args.overrides = line.checked()
            return _run(main, args, name, conf, command)
    except BrokenPipeError:  # the reader of the help has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter complains at its end
        return 0
    except (ValueError, OverrideParseException) as error:
        return complain(error, 2)
    except Exception as error:
        return complain(error, 1)


def _check_installed(conf: Path) -> None:
    """FileNotFoundError where the configs are not where the packages are."""
    if not conf.is_dir():
        raise FileNotFoundError(f"no configs in {conf}: this installation of lora-lab lacks them; "
                                "install it again, or a checkout with pip install -e .")


def _parsed() -> Namespace:
    """The command line, overrides on both sides of -m; ValueError for an unknown flag."""
    if "--version" in sys.argv[1:]:
        show_version()
        sys.exit(0)

    def refuse(message: str) -> NoReturn:
        raise ValueError(message)

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    return parser.parse_intermixed_args()


def show_version() -> None:
    """Print the version of this package; Hydra's own --version would print Hydra's."""
    print(f"lora-lab {importlib.metadata.version('lora-lab')}")


def _run(main: Main, args: Namespace, config_name: str, conf: Path, command: str | None) -> int:
    """Run hydra and print the record; returns the exit code."""
    job = Job(_importable(main) if args.multirun else main, command)
    # hydra's own default comes after its groups, so that conf/hydra/output cannot say this.
    args.overrides = ["hydra.output_subdir=null", *args.overrides]
    try:
        with _hydra_raises():
            _run_hydra(args=args, args_parser=get_args_parser(), task_function=job, config_path=str(conf),
                       config_name=config_name)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        return complain(error, 1)
    if job.error is not None:
        return complain(job.error, 1)
    if job.record is None or args.multirun:
        return 0
    print(json_line(job.record), flush=True)
    return exit_code(job.record)


def _hydra_raises() -> AbstractContextManager[None]:
    """Make hydra raise its errors instead of printing tracebacks of its own; ours appear where either was asked for."""
    traced = "1" if "1" in (os.environ.get(TRACEBACK), os.environ.get("HYDRA_FULL_ERROR")) else "0"
    manager: AbstractContextManager[None] = env_override({"HYDRA_FULL_ERROR": "1", TRACEBACK: traced})
    return manager


def _importable(main: Main) -> Main:
    """The same entry point under the name that a worker process can import, which `__main__` is not."""
    spec = sys.modules["__main__"].__spec__
    if main.__module__ != "__main__" or spec is None:
        return main
    importable: Main = getattr(importlib.import_module(spec.name), main.__name__)
    return importable


def complain(error: Exception, code: int) -> int:
    """Print an error for people on standard error and its record on standard output; returns `code`."""
    record = failure(error)
    print(f"error: {record['error']}", file=sys.stderr, flush=True)
    print(json_line(record), flush=True)
    return code
