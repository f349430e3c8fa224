"""A process that trains run after run (experiments.sweeps.workers starts it).

It reads the overrides of a run from its standard input, one JSON line a run, and answers with one: '' or why it ended
badly.
"""

import json
import logging
import os
import sys
from logging.config import dictConfig

from omegaconf import OmegaConf

from experiments.config.compose import train_configs
from experiments.config.entry import explain
from experiments.runs.execute import run
from experiments.store.paths import CONF

log = logging.getLogger(__name__)


def serve() -> None:
    """Answer each line of standard input; what runs print goes to standard error."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logging_config = OmegaConf.to_container(OmegaConf.load(CONF / "hydra" / "job_logging" / "stderr.yaml"))
    dictConfig(logging_config)  # type: ignore[arg-type]
    for line in sys.stdin:
        print(json.dumps(_problem(json.loads(line))), file=answers, flush=True)


def _problem(overrides: list[str]) -> str:
    """'' or the error of a run in this process."""
    try:
        with train_configs() as compose:
            cfg = compose(overrides)
        run(cfg)
    except Exception as error:
        log.error("%s", explain(error))
        return f"{type(error).__name__}: {explain(error)}"
    return ""


if __name__ == "__main__":
    serve()
