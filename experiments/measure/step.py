"""One training step of any model and method on a random batch, to be timed or to be costed from shapes alone."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from experiments.measure.shadow import StepCost, as_on_gpu, shadow
from experiments.models.load import load_model
from lora.errors import check_choice, check_whole
from lora.limits import check_positions
from lora.positions import separator_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PRECISIONS = ("fp32", "bf16", "fp16")
DEVICES = ("cpu", "cuda")


def random_ids(config: Any, batch_size: int, length: int) -> Tensor:
    """Token ids (batch_size, length) without padding; ValueError where the model has fewer positions."""
    check_positions(config, "length", length)
    return torch.randint(5, config.vocab_size, (batch_size, length))


def random_batch(config: Any, kind: str, batch_size: int, length: int) -> dict[str, Tensor]:
    """Random ids and labels: the ids themselves, with the token between prompt and target, or one of two classes."""
    ids = random_ids(config, batch_size, length)
    if kind == "causal_lm" and (separator := separator_of(config)) is not None:
        ids[:, length // 2] = separator
    return {"input_ids": ids, "labels": ids if kind == "causal_lm" else torch.randint(0, 2, (batch_size,))}


def check_step(cfg: DictConfig) -> None:
    """ValueError for an unknown precision or device, or a batch size or length below 1."""
    check_choice("precision", cfg.precision, PRECISIONS)
    check_choice("device", cfg.device, DEVICES)
    for key in ("batch_size", "length"):
        check_whole(key, cfg[key], 1)


@dataclass(frozen=True)
class TrainingStep:
    """Forward, backward and update of an adapted model; calling it makes one step."""

    model: "PreTrainedModel"
    optimizer: torch.optim.Optimizer
    loss: Callable[[], Tensor]

    def __call__(self) -> None:
        self.loss().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def training_step(cfg: DictConfig, kind: str) -> TrainingStep:
    """The step of `cfg`: model (with random weights), method, batch_size, length, precision, checkpointing.

    precision: fp32; bf16, autocast with all weights in fp32, as in the trainer; fp16, where the base, its gradients
    and optimizer states take 2 bytes a number, and parameters that the method adds (LoRA's A and B) 4. Checkpointing
    keeps the input of each block and computes the block again in the backward pass.
    """
    drawn = OmegaConf.merge(cfg.model, {"init": "random"})
    assert isinstance(drawn, DictConfig)
    model = load_model(drawn, kind, 2, ["0", "1"])
    if cfg.precision == "fp16":
        for parameter in model.parameters():
            parameter.data = parameter.data.half()
    method = instantiate(cfg.method)
    check_positions(model.config, "length", cfg.length, method.positions(), method.name)
    groups = method.apply(model, pooler=cfg.model.pooler)
    model.train()
    model.config.use_cache = False
    if kind == "classification":  # DeBERTa would infer it from the labels, which fake tensors do not have
        model.config.problem_type = "single_label_classification"
    if cfg.checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    optimizer = torch.optim.AdamW([p for group in groups for p in group.parameters.values()], lr=1e-4, fused=True)
    batch = random_batch(model.config, kind, cfg.batch_size, cfg.length)

    def loss() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16) if cfg.precision == "bf16" else nullcontext():
            return model(**batch).loss

    return TrainingStep(model, optimizer, loss)


def shadow_of(cfg: DictConfig, kind: str) -> StepCost:
    """The cost of the same step on `cfg.device`, from its shapes alone."""
    with FakeTensorMode(), as_on_gpu() if cfg.device == "cuda" else nullcontext():
        step = training_step(cfg, kind)
        return shadow(step.model, step.optimizer, step.loss)
