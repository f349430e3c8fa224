"""Costs of a method on a model (section 4.2): memory of a training step, FLOPs a token, and adaptations in a store.

Parameters are counted on the meta device; the rest is read from a training step on fake tensors
(experiments.measure.shadow), so every model of conf/model has its figures here, and no weights are read.
"""

from dataclasses import asdict
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from experiments.measure.step import check_step, shadow_of
from experiments.models.load import empty_model, kind_of
from experiments.tables.publish import Sheet
from lora.count import count
from lora.errors import check_choice

STORED = {"fp32": 4, "fp16": 2}  # bytes a parameter
STEP_BYTES = ("weight_bytes", "gradient_bytes", "optimizer_bytes", "activation_bytes", "peak_bytes")
SETTINGS = ("batch_size", "length", "precision", "device", "checkpointing")


def cost_record(cfg: DictConfig) -> dict[str, Any]:
    """Bytes and FLOPs of training, and the store's room for adaptations."""
    kind = cfg.kind or kind_of(cfg.model)
    check_choice("stored", cfg.stored, STORED)
    check_step(cfg)
    method = instantiate(cfg.method)
    model = empty_model(cfg.model, kind, cfg.num_labels)
    whole = sum(parameter.numel() for parameter in model.parameters())
    counts = asdict(count(model, method, cfg.model.pooler))
    step, tokens = shadow_of(cfg, kind), cfg.batch_size * cfg.length
    return {"model": cfg.model.name, "method": cfg.method.name, "kind": kind,
            **{key: cfg[key] for key in SETTINGS}, "attention": cfg.model.attention, **counts,
            **{key: getattr(step, key) for key in STEP_BYTES},
            "forward_flops_per_token": step.forward.flops / tokens,
            "backward_flops_per_token": step.backward.flops / tokens,
            **storage(whole - counts["head"] if method.keeps_base() else 0, counts["trainable"] + counts["head"],
                      STORED[cfg.stored], cfg.adaptations, cfg.space_gb)}


def storage(shared: int, trained: int, width: int, adaptations: int, space_gb: float) -> dict[str, int | None]:
    """Bytes of `adaptations` with the base that they share, and the number of adaptations that fit in `space_gb`.

    An adaptation is its `trained` parameters, head included, beside `shared` ones, at `width` bytes each; full
    fine-tuning shares none. Any number of adaptations without a parameter fits: None.
    """
    base, adaptation = width * shared, width * trained
    left = int(space_gb * 1e9) - base
    return {"base_bytes": base, "adaptation_bytes": adaptation, "adaptations": adaptations,
            "adaptations_bytes": base + adaptations * adaptation,
            "adaptations_that_fit": max(0, left // adaptation) if adaptation else None}


def cost_sheet(record: dict[str, Any]) -> Sheet:
    """The record as a table, with units."""
    return Sheet("cost", "", ["what", "value"], [[key, _with_unit(key, value)] for key, value in record.items()])


def _with_unit(key: str, value: Any) -> Any:
    if key.endswith("flops_per_token"):
        return f"{value / 1e9:,.3f} GFLOP"
    if "bytes" in key:
        return f"{value / 1e9:,.3f} GB" if value >= 1e9 else f"{value / 1e6:,.3f} MB"
    return str(value).lower() if isinstance(value, bool) else value
