"""How a CPU trains fastest: one process with all its cores or one a core, fp32 or bf16, fused attention or not.

A variant's figure is the tokens per second of all processes together, LoRA training with random weights, median over
rounds; within a round every variant is run once, so that what else the machine does hits all alike. The defaults of
`experiments.training.hardware` and of conf/model stand on the committed record, results/cpu/arithmetic.json.
"""

import itertools
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import cache
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from hydra.core.utils import env_override
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.table import Table

import experiments.config.resolvers  # noqa: F401  (the resolver in conf/model and conf/method)
from experiments.config.compose import choice
from experiments.config.entry import entry
from experiments.models.architectures import attentions_of
from experiments.models.load import load_model
from experiments.store.files import json_line, write_atomic
from experiments.store.paths import CONF
from experiments.tables.text import console_for
from experiments.training.hardware import describe
from lora.errors import check_choice

LAYOUTS = ("one process", "one a core")
PRECISIONS = ("fp32", "bf16")
Workers = list[ProcessPoolExecutor]


@entry("arithmetic", examples=[
    "python -m experiments.measure.processes",
    "python -m experiments.measure.processes models=[roberta-nano] rounds=9 output=results/local/arithmetic.json",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Tokens per second by layout of processes, precision and attention, for each model."""
    for model in cfg.models:
        check_choice("model", model, [path.stem for path in (CONF / "model").glob("*.yaml")])
    from joblib import cpu_count

    cores = cfg.cores or cpu_count()
    record = {"models": {model: measure(cfg, model, cores) for model in cfg.models}, "cores": cores,
              "batch_size": cfg.batch_size, "length": cfg.length, "rounds": cfg.rounds, "seconds": cfg.seconds,
              "device": describe(torch.device("cpu"), 1),
              "versions": {name: version(name) for name in ("torch", "transformers")}}
    show(record)
    write_atomic(Path(cfg.output), json_line(record) + "\n")
    return record


def measure(cfg: DictConfig, model: str, cores: int) -> dict[str, Any]:
    """Tokens per second of the machine by variant, and the model's number of parameters."""
    shape = model_config(model)
    attentions = attentions_of(shape.config.model_type)
    variants = list(itertools.product(LAYOUTS, PRECISIONS, attentions))
    speeds: dict[str, list[float]] = {" ".join(variant): [] for variant in variants}
    job: tuple[Any, str] = (OmegaConf.to_container(cfg, resolve=True), model)
    with ExitStack() as stack:
        with env_override({"OMP_NUM_THREADS": "1"}):
            many = _workers(stack, cores)
        with env_override({"OMP_NUM_THREADS": str(cores)}):
            one = _workers(stack, 1)
        parameters = one[0].submit(count, *job).result()
        for number, (layout, precision, attention) in itertools.product(range(cfg.rounds + 1), variants):
            workers = one if layout == LAYOUTS[0] else many
            found = _together(workers, (*job, precision, attention))
            if number > 0:  # the first round warms up
                speeds[f"{layout} {precision} {attention}"].append(found)
    return {"parameters": parameters,
            "tokens_per_second": {variant: statistics.median(found) for variant, found in speeds.items()}}


def _workers(stack: ExitStack, number: int) -> Workers:
    """Processes that take their number of threads from the environment they start in."""
    pools = [stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn"))) for _ in range(number)]
    for pool in pools:
        pool.submit(time.time).result()
    return pools


def _together(workers: Workers, job: tuple[Any, ...]) -> float:
    """Tokens per second of all workers at once."""
    return sum(future.result() for future in [pool.submit(speed, *job) for pool in workers])


def model_config(model: str) -> DictConfig:
    """A file of conf/model, with random weights."""
    given = {"init": "random", "classifier_dropout": None}
    cfg = OmegaConf.merge(choice("model", model), given)
    assert isinstance(cfg, DictConfig)
    return cfg


def count(cfg: dict[str, Any], model: str) -> int:
    """Parameters of a model."""
    return sum(parameter.numel() for parameter in _trained(model, "eager")[0].parameters())


def speed(cfg: dict[str, Any], model: str, precision: str, attention: str) -> float:
    """Tokens per second of this process's training steps in `seconds`."""
    network, optimizer = _trained(model, attention)
    ids = torch.randint(5, network.config.vocab_size, (cfg["batch_size"], cfg["length"]))
    labels = torch.randint(0, 2, (cfg["batch_size"],))
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < cfg["seconds"]:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = network(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        steps += 1
    return steps * ids.numel() / (time.perf_counter() - start)


@cache
def _trained(model: str, attention: str) -> tuple[Any, torch.optim.Optimizer]:
    """The adapted model and its optimizer, made once in a process."""
    torch.manual_seed(0)
    cfg = model_config(model)
    cfg.attention = attention
    network = load_model(cfg, "classification", 2, ["0", "1"])
    method = OmegaConf.load(CONF / "method" / "lora.yaml")
    method.update({"rank": 8, "alpha": 16, "dropout": 0.0})
    instantiate(method).apply(network, pooler=cfg.pooler)
    network.train()
    return network, torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-4, fused=True)


def show(record: dict[str, Any]) -> None:
    """One line a model and variant: tokens per second, and how it stands to one process in fp32."""
    table = Table("model", "parameters", "variant", "tokens/s", title=f"{record['device']}: LoRA training")
    for model, found in record["models"].items():
        for variant, tokens in sorted(found["tokens_per_second"].items(), key=lambda pair: -pair[1]):
            table.add_row(model, f"{found['parameters']:,}", variant, f"{tokens:,.0f}")
    console_for(table).print(table)


if __name__ == "__main__":
    main()
