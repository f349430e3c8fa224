"""Small adapters as loralib state dicts, a base model's weights for them, and commands on both."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from matplotlib.figure import Figure
from omegaconf import DictConfig
from safetensors.torch import load_file, save_file
from torch import Tensor

from analysis.adapters.read import read_updates
from analysis.adapters.updates import Update
from experiments.tables import publish_study
from lora.adapter_file import save_adapter
from lora.peft import save_peft
from tests.experiments.made import compose
from tests.lora import adapted_models as tiny

D = 24
WORDS = ("query", "value")


def module(layer: int, word: str) -> str:
    return f"roberta.encoder.layer.{layer}.attention.self.{word}"


def factors(seed: int = 0, rank: int = 2, layers: int = 3, d: int = D) -> dict[str, Tensor]:
    """lora_A (rank, d) and lora_B (d, rank) of q and v in every layer."""
    draw = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(layers):
        for word in WORDS:
            tensors[f"{module(layer, word)}.lora_A"] = torch.randn(rank, d, generator=draw)
            tensors[f"{module(layer, word)}.lora_B"] = torch.randn(d, rank, generator=draw)
    return tensors


def write(file: Path, tensors: Mapping[str, Tensor] | None = None, **sizes: int) -> Path:
    """An adapter with these tensors, or those of `factors`."""
    torch.save(dict(tensors or factors(**sizes)), file)
    return file


def layouts(folder: Path, **method: Any) -> dict[str, Path]:
    """One adapter of a tiny RoBERTa (q and v of two layers, 16 wide, alpha 6) in our layout, PEFT's and loralib's."""
    model = tiny.adapted("roberta", tiny.method(**method))
    ours = save_adapter(model, folder / "ours", base={"name": "tiny"})
    tensors = {f"{u.module}.lora_{key}": getattr(u, key) for u in read_updates(ours).updates for key in "AB"}
    return {"ours": ours, "peft": save_peft(model, folder / "peft", base="tiny"),
            "loralib": write(folder / "loralib.bin", tensors)}


def base(file: Path, layers: int = 3, d: int = D) -> Path:
    """Weights of q and v in every layer."""
    draw = torch.Generator().manual_seed(9)
    save_file({f"{module(layer, word)}.weight": torch.randn(d, d, generator=draw)
               for layer in range(layers) for word in WORDS}, file)
    return file


def call(main: Callable[[], None], name: str, folder: Path, pictures: bool = False, **values: Any) -> dict[str, Any]:
    """What a command returns; its figures are made, and written only if asked for, which takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        if not pictures:
            patch.setattr(publish_study, "save_figure", nowhere)
        return inspect.unwrap(main)(config(name, folder, **values))


def nowhere(figure: Figure, folder: Path, name: str, caption: bool) -> list[Path]:
    """In place of save_figure."""
    return [folder / f"{name}.{suffix}" for suffix in ("png", "pdf")]


def config(name: str, folder: Path, **values: Any) -> DictConfig:
    """conf/<name>.yaml with these values, few draws, and no wandb."""
    cfg = compose("logger.wandb.mode=disabled", f"output={folder}", config=name)
    if "samples" in cfg:
        cfg.samples = 50
    for key, value in values.items():
        cfg[key] = str(value) if isinstance(value, Path) else value
    return cfg

QUERY, VALUE = "encoder.layer.{}.attention.self.query", "encoder.layer.{}.attention.self.value"


def dW(update: Update) -> Tensor:
    assert update.scaling is not None
    return update.scaling * update.B @ update.A


def ours(kind: str, folder: Path, base: str = "tiny", **fields: object) -> Path:
    return save_adapter(tiny.adapted(kind, tiny.method(**fields)), folder, base={"name": base})


def by_peft(kind: str, folder: Path, targets: list[str], **options: object) -> dict[str, Tensor]:
    """An adapter that PEFT wrote, and PEFT's own dW (n_out, n_in) of each module."""
    fused = kind.startswith("gpt2")
    config = peft.LoraConfig(**{"r": 2, "lora_alpha": 6, "target_modules": targets, "fan_in_fan_out": fused} | options)
    model = peft.get_peft_model(tiny.model(kind), config)
    tiny.disturb([p for p in model.parameters() if p.requires_grad])
    model.save_pretrained(folder)
    layers = {name.removeprefix("base_model.model."): module for name, module in model.named_modules()
              if isinstance(module, peft.tuners.lora.LoraLayer)}
    deltas = {name: layer.get_delta_weight("default").detach() for name, layer in layers.items()}
    return {name: delta.T if fused else delta for name, delta in deltas.items()}


def spoil(change: Callable[[dict[str, Tensor]], object], folder: Path) -> Path:
    """A PEFT folder with one thing wrong in its tensors."""
    by_peft("bert", folder, ["query", "value"])
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    return folder
