"""What moves the parameters: AdamW over a method's groups, its learning-rate schedule, and how the rest is held."""

import torch
from omegaconf import DictConfig
from torch import nn

from lora.methods import ParameterGroup


def schedule(kind: str, step: int, warmup: int, steps: int) -> float:
    """Share of the full learning rate at `step` (from 0): up from 0 over `warmup` steps, then constant or down to 0."""
    if step < warmup:
        return step / max(1, warmup)
    return 1.0 if kind == "constant" else max(0.0, (steps - step) / max(1, steps - warmup))


def make_optimizer(groups: list[ParameterGroup], cfg: DictConfig) -> torch.optim.AdamW:
    """AdamW over a method's groups; vectors and scalars (biases, norms) are not decayed."""
    made = []
    for group in groups:
        for decays in (True, False):
            if parameters := [p for p in group.parameters.values() if (p.dim() > 1) == decays]:
                made.append({"params": parameters, "weight_decay": cfg.weight_decay if decays else 0.0,
                             "learning_rate_scale": group.learning_rate_scale})
    return torch.optim.AdamW(made, lr=cfg.learning_rate, betas=tuple(cfg.betas), eps=cfg.epsilon, fused=True)


def hold_frozen_in_bf16(model: nn.Module) -> None:
    """Halve the memory of what does not train; a module of which anything trains stays as it is."""
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if not any(parameter.requires_grad for parameter in own):
            for parameter in own:
                parameter.data = parameter.data.bfloat16()
