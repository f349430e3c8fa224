"""A stand-in for a command, with configs of its own, run in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

from experiments.store.paths import CONF

APP = '''
"""A stand-in for a training: its seed decides how it ends."""
from pathlib import Path

from experiments.config.entry import entry
from experiments.config.search_path import search_path

EXAMPLES = ["python -m app seed=1", "python -m app method=ft", "python -m app -m seed=1,2"]


@entry("train", examples=EXAMPLES, conf=Path(__file__).parent / "conf")
def main(cfg):
    """Train one method."""
    if cfg.seed == 13:
        raise ValueError("seed 13 is unlucky")
    if cfg.seed == 130:
        raise KeyboardInterrupt
    from experiments.training.hardware import threads_for_this_process  # imports torch: not for --help

    print("a table for people")
    status = "collapsed" if cfg.seed == 14 else "done"
    score = float("nan") if cfg.seed == 14 else 80.5
    cost = {"trainable": 12345, "seconds": 1.5, "threads": threads_for_this_process()}
    return {"run": f"run-{cfg.seed}", "status": status, "score": score, "files": dict(cfg.files), **cost,
            "added": [str(folder) for folder in search_path()]}


if __name__ == "__main__":
    main()
'''
CONFIGS = {
    "train.yaml": """
defaults:
  - model: minilm
  - method: lora
  - logger: default
  - override hydra/output: store
  - override hydra/job_logging: stderr
  - override hydra/hydra_logging: stderr
  - _self_
seed: 0  # of everything drawn at random
store: results/local
files: {}
trainer:
  epochs: 3  # passes over the data
  learning_rate: 5e-4
""",
    "model/minilm.yaml": "config: null\n",
    "model/roberta-base.yaml": "config: {hidden_size: 3}\n",
    "method/lora.yaml": "rank: 8  # rows of A\n",
    "method/ft.yaml": "name: ft\n",
}


def run_app(app: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m app ...` from a folder other than the app's."""
    paths = {"PYTHONPATH": f"{app}{os.pathsep}{CONF.parent}"}
    ours = ("HYDRA_FULL_ERROR", "LORA_LAB_TRACEBACK", "WANDB_SERVICE")  # not to be inherited
    keep = {name: value for name, value in os.environ.items() if name not in ours}
    command = [sys.executable, "-m", "app", *arguments]
    environment = keep | paths | environment
    folder = app / "elsewhere"
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
