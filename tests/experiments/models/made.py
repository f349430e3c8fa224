"""tests.experiments.models.made"""

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from experiments.config.compose import choice
from experiments.models import load as loading

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SHAPES = {
    "bert": {"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 2, "intermediate_size": 16},
    "roberta": {"model_type": "roberta", "hidden_size": 8, "num_hidden_layers": 2, "intermediate_size": 16},
    "deberta-v2": {
        "model_type": "deberta-v2",
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "intermediate_size": 16,
    },
    "gpt2": {"model_type": "gpt2", "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 16},
}


def model_config(name: str, **changes: object) -> DictConfig:
    """conf/model/<name>.yaml with dotted keys changed, as the command line does."""
    cfg = OmegaConf.create(
        {"preset": None, "model": choice("model", name)}
    )
    for key, value in changes.items():
        OmegaConf.update(cfg.model, key, value)
    return cfg.model


def save_base(
    folder: Path, kind: str, drop: str = "", file: str = "model.safetensors"
) -> dict[str, torch.Tensor]:
    """Write a tiny base model without a head and the tensors with `drop` in their name; returns all."""
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.for_model(**SHAPES[kind])
    tensors = AutoModel.from_config(config).state_dict()
    kept = {key: value for key, value in tensors.items() if not drop or drop not in key}
    config.save_pretrained(folder)
    if file.endswith(".bin"):
        torch.save(kept, folder / file)
    else:
        save_file(kept, folder / file, metadata={"format": "pt"})
    return tensors


def load(cfg: DictConfig, kind: str = "classification", labels: tuple[str, ...] = ("no", "yes")) -> Any:
    return loading.load_model(cfg, kind, len(labels), list(labels))
