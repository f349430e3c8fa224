"""What a run's A matrices were before training, drawn again from its seed.

Runs of one seed fill their A matrices from one stream of random numbers, so these are related before anything is
learnt: equal where the ranks are, else so in part.
"""

from collections.abc import Mapping

import torch
from omegaconf import OmegaConf
from torch import Tensor

from analysis.bases import own_base
from analysis.updates import Update
from experiments.runs import RunRecord, Store
from lora.adapter_file import method_of, read_adapter

Key = tuple[str, str]  # module and role


def initial_A(store: Store, record: RunRecord) -> dict[Key, Tensor]:
    """A (rank, n_in) at the start of a run, by module and role: model, head and method are made as it made them.

    ValueError or OSError where the base model is not on this machine or is not what it was, or where the run started
    from another's adapter.
    """
    from experiments.checkpoint import seed_everything
    from experiments.models import load_model
    from lora.layer import adapted_layers

    description, _ = read_adapter(store.root / str(record.adapter))
    if record.init_from is not None:
        raise ValueError(f"run {record.run} started from another's adapter ({record.init_from['run']})")
    if own_base(description["base"]) is None:
        raise FileNotFoundError(f"base model {description['base'].get('name')} is not on this machine")
    cfg, labels = OmegaConf.create(record.config), description["labels"]
    kind = "causal_lm" if not description["head"] else "regression" if len(labels) == 1 else "classification"
    with torch.random.fork_rng(devices=[]):
        seed_everything(record.seed)
        model = load_model(cfg.model, kind, len(labels), labels)
        method_of(description["method"]).apply(model, pooler=cfg.model.pooler)
    return {(module, role): update.A.detach() for module, layer in adapted_layers(model)
            for role, update in layer.of("default").items()}


def of_update(drawn: Mapping[Key, Tensor], update: Update) -> Tensor | None:
    """The A that an update started from."""
    found = drawn.get((update.module, update.role), drawn.get((update.module, "weight")))
    return found if found is not None and found.shape == update.A.shape else None
