"""Time and peak memory of one training step: ours, PEFT's, loralib's, full fine-tuning's, and the frozen body's.

All variants have one architecture, the same frozen and trained matrices, and AdamW. The head trains in each but
`frozen`, which only runs forward and backward to the embeddings' output: no adaptation can be faster.

Memory is the high-water mark of a fresh process, and the steps' share of it. The allocator of that process gives freed
blocks back at once; otherwise the mark varies by 5 %.
"""

import statistics
from collections.abc import Callable

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from experiments.measure.peers import package, peft_config, whole_modules
from experiments.measure.record import CPU, BenchmarkRecord, new_record
from experiments.measure.rounds import ratio, rounds
from experiments.models.load import load_model
from experiments.training.hardware import choose_precision, in_fresh_process, peak_memory_mb, reset_peak_memory
from lora import FullFineTuning
from lora.errors import check_choice
from lora.sites import head_modules

PACKAGES = ("peft", "loralib")
REFERENCES = ("peft", "frozen")  # the variants that the others are compared with


def step_benchmark(cfg: DictConfig) -> BenchmarkRecord:
    """Seconds and peak memory of one training step by variant."""
    OmegaConf.resolve(cfg)  # another process may lack the resolvers
    for variant in cfg.variants:
        check_choice("variant", variant, VARIANTS)
        if variant in PACKAGES:
            package(variant)
    peaks = {variant: in_fresh_process(peak_memory, cfg, variant) for variant in cfg.variants}
    seconds = rounds({variant: variant_step(cfg, variant) for variant in cfg.variants}, cfg.rounds)
    variants = {variant: {"seconds": statistics.median(seconds[variant]),
                          **{f"over_{other}": ratio(seconds, variant, other) if other in seconds else None
                             for other in REFERENCES},
                          **peaks[variant]} for variant in cfg.variants}
    settings = {"model": cfg.model.name, "rank": cfg.method.rank, "targets": list(cfg.method.targets),
                "batch_size": cfg.batch_size, "length": cfg.length,
                "precision": choose_precision(cfg.precision, CPU)}
    packages = ("torch", "transformers", *(variant for variant in cfg.variants if variant in PACKAGES))
    return new_record("step", packages, cfg.threads, cfg.rounds, settings, variants, {})


def peak_memory(cfg: DictConfig, variant: str) -> dict[str, float]:
    """High-water mark in MB of this process over `memory_steps` steps of one variant, and the steps' part of it."""
    step = variant_step(cfg, variant)
    reset_peak_memory(CPU)
    before = peak_memory_mb(CPU)
    for _ in range(cfg.memory_steps):
        step()
    peak = peak_memory_mb(CPU)
    return {"peak_memory_mb": peak, "step_memory_mb": peak - before}


def variant_step(cfg: DictConfig, variant: str) -> Callable[[], None]:
    """One step of `variant` on a fixed random batch: forward, backward and the optimizer's update."""
    torch.set_num_threads(cfg.threads)
    torch.manual_seed(0)
    model = load_model(cfg.model, "classification", 2, ["0", "1"])
    VARIANTS[variant](model, cfg)
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True) if trained else None
    ids = torch.randint(5, model.config.vocab_size, (cfg.batch_size, cfg.length))
    labels = torch.randint(0, 2, (cfg.batch_size,))
    bf16 = choose_precision(cfg.precision, CPU) == "bf16"

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss
        loss.backward()
        if optimizer is not None:
            optimizer.step()
            optimizer.zero_grad()

    return step


def _ours(model: nn.Module, cfg: DictConfig) -> None:
    instantiate(cfg.method).apply(model, pooler=cfg.model.pooler)


def _peft(model: nn.Module, cfg: DictConfig) -> None:
    package("peft").inject_adapter_in_model(peft_config(model, cfg), model)  # freezes all else
    _train_head(model, cfg)


def _loralib(model: nn.Module, cfg: DictConfig) -> None:
    loralib = package("loralib")
    if cfg.method.rank_stabilised:
        raise ValueError("loralib has no method.rank_stabilised: leave loralib out of variants=[...]")
    model.requires_grad_(False)
    for name in whole_modules(model, cfg):
        base = model.get_submodule(name)
        layer = loralib.Linear(base.in_features, base.out_features, r=cfg.method.rank, lora_alpha=cfg.method.alpha,
                               lora_dropout=cfg.method.dropout, merge_weights=False)
        layer.weight, layer.bias = base.weight, base.bias
        model.set_submodule(name, layer)
    _train_head(model, cfg)


def _ft(model: nn.Module, cfg: DictConfig) -> None:
    FullFineTuning(name="ft").apply(model, pooler=cfg.model.pooler)


def _frozen(model: nn.Module, cfg: DictConfig) -> None:
    model.requires_grad_(False)
    model.get_input_embeddings().register_forward_hook(lambda *call: call[-1].requires_grad_())  # type: ignore[operator]


VARIANTS = {"ours": _ours, "peft": _peft, "loralib": _loralib, "ft": _ft, "frozen": _frozen}


def _train_head(model: nn.Module, cfg: DictConfig) -> None:
    for name in head_modules(model, cfg.model.pooler):
        model.get_submodule(name).requires_grad_(True)
