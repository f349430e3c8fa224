"""Throughput of LoRA training on a CPU: one process with all cores or one a core, fp32 or bf16, fused attention or not.

A variant's reading is the tokens per second of all its processes together, with random weights. The defaults of
`experiments.training.hardware` and of conf/model rest on the committed record, results/cpu/processes.
"""

import itertools
import json
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import cache, partial
from multiprocessing import get_context
from typing import Any

import torch
from hydra.core.utils import env_override
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from experiments.config.compose import check_file, configs
from experiments.measure.record import BenchmarkRecord, new_record
from experiments.measure.rounds import reported, rounds
from experiments.models.architectures import attentions_of
from experiments.models.load import load_model

LAYOUTS = ("one process", "one a core")
PRECISIONS = ("fp32", "bf16")
LORA = ("method.rank=8", "method.alpha=16", "method.dropout=0.0")
Workers = list[ProcessPoolExecutor]


def processes_benchmark(cfg: DictConfig) -> BenchmarkRecord:
    """Tokens per second by layout of processes, precision and attention, for each model."""
    from joblib import cpu_count

    for model in cfg.models:
        check_file("model", model)
    threads = cfg.threads or cpu_count()
    variants: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        with env_override({"OMP_NUM_THREADS": "1"}):
            many = _workers(stack, threads)
        with env_override({"OMP_NUM_THREADS": str(threads)}):
            one = _workers(stack, 1)
        for model in cfg.models:
            variants |= model_variants(cfg, model, dict(zip(LAYOUTS, (one, many), strict=True)))
    settings = {key: cfg[key] for key in ("batch_size", "length", "seconds")}
    return new_record("processes", ("torch", "transformers"), threads, cfg.rounds, settings, variants, {})


def model_variants(cfg: DictConfig, model: str, workers: dict[str, Workers]) -> dict[str, dict[str, Any]]:
    """Labels and tokens per second of every variant of one model."""
    adapted = adapted_config(model)
    attentions = attentions_of(adapted["model"]["config"]["model_type"])
    text = json.dumps(adapted)
    parameters = workers[LAYOUTS[0]][0].submit(number_of_parameters, text).result()
    labels = {f"{model} {layout} {precision} {attention}": {
        "model": model, "parameters": parameters, "layout": layout, "precision": precision, "attention": attention}
        for layout, precision, attention in itertools.product(LAYOUTS, PRECISIONS, attentions)}
    sizes = (cfg.batch_size, cfg.length, cfg.seconds)
    steps = {name: partial(speed_together, workers[row["layout"]], text, row["precision"], row["attention"], *sizes)
             for name, row in labels.items()}
    speeds = rounds(steps, cfg.rounds, reported)
    return {name: {**row, "tokens_per_second": statistics.median(speeds[name])} for name, row in labels.items()}


def adapted_config(model: str) -> dict[str, Any]:
    """A model of conf/model with random weights, and LoRA on q and v, as data."""
    with configs("cost") as compose_cost:
        cfg = compose_cost([f"model={model}", "model.init=random", "model.classifier_dropout=null", *LORA])
    return {key: OmegaConf.to_container(cfg[key], resolve=True) for key in ("model", "method")}


def _workers(stack: ExitStack, number: int) -> Workers:
    """Processes that take their number of threads from the environment they start in."""
    pools = [stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn"))) for _ in range(number)]
    for pool in pools:
        pool.submit(time.time).result()
    return pools


def speed_together(workers: Workers, *job: Any) -> float:
    """Tokens per second of all workers at once; `job` is what `training_speed` takes."""
    return sum(future.result() for future in [pool.submit(training_speed, *job) for pool in workers])


def number_of_parameters(adapted: str) -> int:
    """Parameters of the adapted model."""
    return sum(parameter.numel() for parameter in _trained(adapted, "eager")[0].parameters())


def training_speed(adapted: str, precision: str, attention: str, batch_size: int, length: int,
                   seconds: float) -> float:
    """Tokens per second of this process's training steps in `seconds`."""
    network, optimizer = _trained(adapted, attention)
    ids = torch.randint(5, network.config.vocab_size, (batch_size, length))
    labels = torch.randint(0, 2, (batch_size,))
    steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = network(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        steps += 1
    return steps * ids.numel() / (time.perf_counter() - started)


@cache
def _trained(adapted: str, attention: str) -> tuple[Any, torch.optim.Optimizer]:
    """The adapted model and its optimizer, made once in a process; `adapted` is JSON of `adapted_config`."""
    torch.manual_seed(0)
    cfg = OmegaConf.create(json.loads(adapted))
    cfg.model.attention = attention
    network = load_model(cfg.model, "classification", 2, ["0", "1"])
    instantiate(cfg.method).apply(network, pooler=cfg.model.pooler)
    network.train()
    return network, torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-4, fused=True)
