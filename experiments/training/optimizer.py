"""AdamW over a method's parameter groups, its learning-rate schedule, and the storage of frozen weights."""

import torch
from omegaconf import DictConfig
from torch import nn
from transformers.pytorch_utils import Conv1D

from lora.layer import adapted_layers
from lora.methods import ParameterGroup
from lora.quantised import HELD, quantised


def schedule(kind: str, step: int, warmup: int, steps: int) -> float:
    """Share of the full learning rate at `step` (from 0): up from 0 over `warmup` steps, then constant or down to 0."""
    if step < warmup:
        return step / max(1, warmup)
    return 1.0 if kind == "constant" else max(0.0, (steps - step) / max(1, steps - warmup))


def make_optimizer(groups: list[ParameterGroup], cfg: DictConfig) -> torch.optim.AdamW:
    """AdamW over a method's groups; vectors and scalars (biases, norms) are not decayed."""
    settings = []
    for group in groups:
        for decays in (True, False):
            if parameters := [p for p in group.parameters.values() if (p.dim() > 1) == decays]:
                settings.append({"params": parameters, "weight_decay": cfg.weight_decay if decays else 0.0,
                                 "learning_rate_scale": group.learning_rate_scale})
    return torch.optim.AdamW(settings, lr=cfg.learning_rate, betas=tuple(cfg.betas), eps=cfg.epsilon, fused=True)


def hold_frozen(model: nn.Module, held: str, dtype: torch.dtype) -> None:
    """Hold what does not train in `held`; a module of which anything trains stays as it is.

    8bit and 4bit are for dense maps, which then compute in `dtype`; the output embeddings are not among them.
    ValueError where there is none left to hold so, and for PiSSA, which quantises what its start leaves of W0: here W0
    is whole, so that it would begin with all of the error that PiSSA is there to lessen.
    """
    if held in HELD and any(update.init == "pissa" for _, layer in adapted_layers(model)
                            for update in layer.of(layer.active).values()):
        raise ValueError(f"trainer.frozen={held} cannot be with method.init=pissa, whose residual W0 - B0 A0 is not "
                         "what is quantised here: take init=kaiming or gaussian, or frozen=bf16 or fp32")
    frozen = {name: module for name, module in model.named_modules()
              if not any(parameter.requires_grad for parameter in module.parameters(recurse=False))}
    if held == "bf16":
        for parameter in (p for module in frozen.values() for p in module.parameters(recurse=False)):
            parameter.data = parameter.data.bfloat16()
    if held in HELD:
        output = model.get_output_embeddings()  # type: ignore[operator]
        output = getattr(output, "base", output)  # below an update of ours
        dense = {name: module for name, module in frozen.items()
                 if isinstance(module, nn.Linear | Conv1D) and module is not output}
        if not dense:
            raise ValueError(f"trainer.frozen={held}: something trains in every dense map, none is left to be held so")
        for name, module in dense.items():
            model.set_submodule(name, quantised(module, held, dtype))
