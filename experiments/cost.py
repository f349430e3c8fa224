"""What a method costs on a model (section 4.2): memory of a training step, FLOPs a token, and adaptations in a store.

Parameters are counted on the meta device; the rest is read from a training step on fake tensors
(experiments.measure.shadow), so that any model of conf/model has its figures here, and no weights are read. How far
they are from what a machine measures is in results/cpu/cost, by `python -m experiments.cost_check`.
"""

from dataclasses import asdict
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from experiments.config.entry import entry


@entry("cost", examples=[
    "python -m experiments.cost model=gpt3-175b method=lora method.rank=4 precision=fp16 checkpointing=true",
    "python -m experiments.cost model=roberta-large method=ft batch_size=32 length=128 precision=bf16",
    "python -m experiments.cost model=gpt2-medium method=lora batch_size=8 length=512 space_gb=10",
])
def main(cfg: DictConfig) -> dict[str, Any]:
    """Bytes and FLOPs of training a method on a model, and how many adaptations a store holds."""
    from experiments.measure.step import check_step, shadow_of
    from experiments.models.load import empty_model, kind_of
    from experiments.tables.text import print_rows
    from lora.count import count
    from lora.errors import check_choice

    kind = cfg.kind or kind_of(cfg.model)
    check_choice("stored", cfg.stored, STORED)
    check_step(cfg)
    method = instantiate(cfg.method)
    model = empty_model(cfg.model, kind, cfg.num_labels)
    whole = sum(parameter.numel() for parameter in model.parameters())
    counts = asdict(count(model, method, cfg.model.pooler))
    step, tokens = shadow_of(cfg, kind), cfg.batch_size * cfg.length
    record = {"model": cfg.model.name, "method": cfg.method.name, "kind": kind,
              **{key: cfg[key] for key in ("batch_size", "length", "precision", "device", "checkpointing")},
              "attention": cfg.model.attention, **counts,
              **{key: getattr(step, key) for key in BYTES},
              "forward_flops_per_token": step.forward.flops / tokens,
              "backward_flops_per_token": step.backward.flops / tokens,
              **storage(whole - counts["head"] if method.keeps_base() else 0, counts["trainable"] + counts["head"],
                        STORED[cfg.stored], cfg.tasks, cfg.space_gb)}
    print_rows(["what", "value"], [[key, _shown(key, value)] for key, value in record.items()])
    return record


STORED = {"fp32": 4, "fp16": 2}  # bytes a parameter
BYTES = ("weight_bytes", "gradient_bytes", "optimizer_bytes", "activation_bytes", "peak_bytes")


def storage(shared: int, own: int, width: int, tasks: int, space_gb: float) -> dict[str, int | None]:
    """Bytes of `tasks` adaptations with the base that they share, and how many adaptations fit in `space_gb`.

    An adaptation is its `own` parameters, head included, beside `shared` ones, at `width` bytes each; full
    fine-tuning shares none. Of adaptations without a parameter any number fits: None.
    """
    base, adaptation = width * shared, width * own
    left = int(space_gb * 1e9) - base
    return {"base_bytes": base, "adaptation_bytes": adaptation, "tasks": tasks,
            "tasks_bytes": base + tasks * adaptation,
            "tasks_that_fit": max(0, left // adaptation) if adaptation else None}


def _shown(key: str, value: Any) -> Any:
    if key.endswith("flops_per_token"):
        return f"{value / 1e9:,.3f} GFLOP"
    if "bytes" in key:
        return f"{value / 1e9:,.3f} GB" if value >= 1e9 else f"{value / 1e6:,.3f} MB"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:,}" if isinstance(value, int) else value


if __name__ == "__main__":
    main()
