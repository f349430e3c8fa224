"""A run's A matrices before training, drawn again from its seed, and two adapters compared with these in hand.

Runs of one seed fill their A matrices from one stream of random numbers, so these are related before anything is
learnt: equal where the ranks are, else so in part.
"""

from collections.abc import Mapping, Sequence

import torch
from omegaconf import OmegaConf
from torch import Tensor

from analysis.adapters.pair import Pairs, pair
from analysis.adapters.read import AdapterUpdates, read_updates
from analysis.adapters.updates import Problem, Update
from analysis.linalg.similarity import right_singular, similarity
from analysis.linalg.statistics import mean_interval
from analysis.studies.study import interval_text
from analysis.studies.subspace import Comparison
from experiments.models.bases import own_base
from experiments.models.load import adapter_kind, load_model
from experiments.store.checkpoint import seed_everything
from experiments.store.locate import locate, run_of
from experiments.store.store import RunRecord, Store
from lora.adapter_file import method_of, read_adapter
from lora.layer import adapted_layers

Key = tuple[str, str]  # module and role


def initial_A(store: Store, record: RunRecord) -> dict[Key, Tensor]:
    """A (rank, n_in) at the start of a run, by module and role: model, head and method are made as it made them.

    ValueError or OSError where the base model is not on this machine or is not what it was, or where the run started
    from another's adapter.
    """
    description, _ = read_adapter(store.root / str(record.adapter))
    if record.init_from is not None:
        raise ValueError(f"run {record.run} started from another's adapter ({record.init_from['run']})")
    if own_base(description["base"]) is None:
        raise FileNotFoundError(f"base model {description['base'].get('name')} is not on this machine")
    cfg, labels = OmegaConf.create(record.config), description["labels"]
    with torch.random.fork_rng(devices=[]):
        seed_everything(record.seed)
        model = load_model(cfg.model, adapter_kind(description), len(labels), labels)
        method_of(description["method"]).apply(model, pooler=cfg.model.pooler)
    return {(module, role): update.A.detach() for module, layer in adapted_layers(model)
            for role, update in layer.of("default").items()}


def of_update(initial: Mapping[Key, Tensor], update: Update) -> Tensor | None:
    """The A that an update started from."""
    A = initial.get((update.module, update.role), initial.get((update.module, "weight")))
    return A if A is not None and A.shape == update.A.shape else None


def compare_adapters(a: AdapterUpdates, b: AdapterUpdates, roles: Sequence[str] | None = None,
                     layers: Sequence[int] | None = None) -> Comparison:
    """The pairs of updates of two adapters, with their common start where both are runs of one seed.

    ValueError where the two have no matrix in common.
    """
    pairs = pair(a, b, roles, layers)
    starts, notes = common_start((a, b), pairs)
    return Comparison((a.source, b.source), pairs, starts, notes)


def comparison_or_problem(adapter: AdapterUpdates, other: str | None,
                          fused: Sequence[str] | None) -> tuple[Comparison | None, list[Problem]]:
    """The comparison with another adapter, or a problem where the two have no matrix in common.

    ValueError or OSError where the other cannot be read. Its alpha is not asked for: it changes no direction.
    """
    if other is None:
        return None, []
    updates = read_updates(locate(other), source=other, fused=fused)
    try:
        return compare_adapters(adapter, updates), []
    except (ValueError, OSError) as error:
        return None, [Problem("other", str(error))]


def common_start(adapters: Sequence[AdapterUpdates], pairs: Pairs) -> tuple[dict[str, float], list[str]]:
    """phi(p, p) of the two A before training, by label, where both are runs of one seed; and notes on the seeds."""
    runs = [run_of(adapter.path) for adapter in adapters]
    seeds = [None if run is None else run[1].seed for run in runs]
    if None in seeds:
        return {}, ["the seeds are not known: adapters trained from one seed start with related A, so that overlap "
                    "of A between them is not learning"]
    if seeds[0] != seeds[1]:
        return {}, []
    warning = f"both runs have seed {seeds[0]} and so start with related A: overlap of A is not all learning"
    try:
        initial = [initial_A(*run) for run in runs if run is not None]
    except (ValueError, OSError, RuntimeError) as error:
        return {}, [f"{warning}; their initial A could not be drawn again ({error})"]
    starts, layers = {}, []
    for a, b in pairs.pairs:
        A1, A2 = of_update(initial[0], a), of_update(initial[1], b)
        if A1 is not None and A2 is not None:
            starts[a.label] = similarity(right_singular(A1), right_singular(A2)).diagonal()[-1].item()
            layers.append(a.layer)
    if not starts:
        return {}, [f"{warning}; their initial A could not be drawn again (other sites or shapes)"]
    mean = mean_interval(list(starts.values()), groups=layers)
    return starts, [f"{warning}: before training φ(p, p) was {interval_text(mean)} on average"]
