"""Adapter files: all that one adapter trained, and all that is needed to load it, in two files of one folder.

adapter.safetensors holds the tensors by plain names: `bert.encoder.layer.0.attention.self.query.q.A` for the
update of role q in that module, `bert.encoder.layer.0.injected.down.weight` for a module put at that place, and the
names of the unadapted model for base parameters trained in place and for the head. adapter.json holds the method,
the base model and its fingerprint, the labels, and the tensors' sha256. What is written is always unmerged, and
loading accounts for every tensor.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lora.bank import (
    Adapter,
    activate,
    adapters,
    bank,
    base_parameters,
    check_new,
    delete,
    own_parameters,
    plain_name,
    refuse_merged,
)
from lora.errors import check_choice
from lora.injected import plain_own_name
from lora.layer import adapted_layers
from lora.method_description import described, method_of
from lora.methods import Method, ParameterGroup
from lora.pair_file import check_real, read_pair, write_pair
from lora.quantised import sampled
from lora.sites import head_modules

FORMAT, VERSION = "lora-lab adapter", 1
TENSORS, DESCRIPTION = "adapter.safetensors", "adapter.json"


def adapter_tensors(model: nn.Module, adapter: str | None = None) -> dict[str, Tensor]:
    """All that an adapter (the active one unless named) trains, by plain name: references, not copies.

    Parameters of its own first, then base parameters trained in place, then the head.
    """
    name, entry = find_adapter(model, adapter)
    added = {plain_own_name(key, name): p for key, p in own_parameters(model, name).items()}
    place: Mapping[str, Tensor] = base_parameters(model) if name == bank(model).active else entry.values
    return added | {key: place[key] for key in (*entry.in_place, *entry.head)}


@torch.no_grad()
def load_tensors(model: nn.Module, tensors: Mapping[str, Tensor], adapter: str | None = None) -> None:
    """Copy `tensors`, named as by adapter_tensors, into an adapter; ValueError unless they fit exactly."""
    refuse_merged(model, "loading tensors")
    wanted = adapter_tensors(model, adapter)
    account("the set of tensors", tensors, wanted)
    for key, tensor in wanted.items():
        tensor.copy_(tensors[key])


def find_adapter(model: nn.Module, adapter: str | None) -> tuple[str, Adapter]:
    """Name and entry of an adapter of the model: the active one for None."""
    name = bank(model).active if adapter is None else adapter
    if name is None:
        raise RuntimeError(f"no adapter is active: the model has {', '.join(adapters(model)) or 'none'}")
    check_choice("adapter", name, adapters(model))
    return name, bank(model).adapters[name]


def account(source: object, saved: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """ValueError unless `saved` has exactly the names and shapes of `wanted`."""
    lacks, extra = sorted(wanted.keys() - saved.keys()), sorted(saved.keys() - wanted.keys())
    if lacks or extra:
        raise ValueError(f"{source} does not fit this model: lacks {len(lacks)} tensors {lacks[:3]}, "
                         f"has {len(extra)} extra {extra[:3]}")
    for key, tensor in wanted.items():
        if saved[key].shape != tensor.shape:
            raise ValueError(f"{source} does not fit this model: {key} is {tuple(saved[key].shape)}, "
                             f"the model needs {tuple(tensor.shape)}")


@torch.no_grad()
def fingerprint(model: nn.Module, trained: Collection[str]) -> str | None:
    """Digest of the unmerged base tensors outside `trained`: name, shape and about 256 values of each, as bf16.

    It tells a different or silently random backbone apart, and takes one that is held in fewer bits for the same.
    None when nothing of the base is left (full fine-tuning).
    """
    active = bank(model).active
    changed = (bank(model).adapters[active].base or {}) if active is not None else {}
    state = {plain_name(key): value for key, value in model.state_dict().items()}  # holds W0 while merged
    frozen = sorted(base_parameters(model).keys() - set(trained))
    digest = hashlib.sha256()
    before = {plain_name(f"{name}.weight"): module.before for name, module in model.named_modules()
              if hasattr(module, "before")}
    for key in frozen:
        shape, sample = before[key] if key in before else sampled(changed.get(key, state[key]))
        digest.update(f"{key} {shape}".encode())
        digest.update(sample.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest() if frozen else None


def save_adapter(model: PreTrainedModel, folder: Path | str, adapter: str | None = None, *,
                 base: Mapping[str, Any], extra: Mapping[str, Any] | None = None) -> Path:
    """Write an adapter (the active one unless named) into `folder`, unmerged, and return the folder.

    `base` says what the backbone is (name, revision, ...); `extra` is kept as it is.
    """
    name, entry = find_adapter(model, adapter)
    trained = [*entry.in_place, *entry.head]
    description = {
        "format": FORMAT, "version": VERSION, "merged": False,
        "method": described(entry.method),
        "architecture": model.config.model_type,
        "base": {**base, "fingerprint": fingerprint(model, trained)},
        "sites": list(_sites(model, name)), "in_place": entry.in_place, "head": entry.head,
        "pooler": _pooler(model, entry.head), "labels": _labels(model), "extra": dict(extra or {})}
    return write_pair(Path(folder), TENSORS, adapter_tensors(model, name), DESCRIPTION, description)


def _sites(model: nn.Module, adapter: str) -> Iterator[dict[str, Any]]:
    """The place of each update: its tensors are `<module>.<role>.A` and `.B`, and dW = scaling * B A."""
    for module, layer in adapted_layers(model):
        for role, update in layer.of(adapter).items():
            part = update.part
            yield {"module": module, "role": role, "rank": update.rank, "scaling": update.scaling,
                   "groups": part.groups, "parts": part.parts, "index": part.index}


def _pooler(model: nn.Module, head: Sequence[str]) -> str:
    """The `pooler` that method.apply was given; "train" where it makes no difference."""
    heads = head_modules(model, "train")
    return "train" if all(any(key.startswith(f"{name}.") for key in head) for name in heads) else "frozen"


def _labels(model: PreTrainedModel) -> list[str]:
    return [str(label) for _, label in sorted((model.config.id2label or {}).items())]


def read_adapter(folder: Path | str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """An adapter's description and tensors without a model; "sites" says what each A and B belongs to."""
    folder = Path(folder)
    if (folder / "adapter_config.json").is_file() and not (folder / DESCRIPTION).is_file():
        raise ValueError(f"{folder} has PEFT's layout: read it with lora.peft.load_peft")
    description, tensors = read_pair(folder, TENSORS, DESCRIPTION)
    if description.get("format") != FORMAT or "sha256" not in description:
        raise ValueError(f"{folder / DESCRIPTION} does not describe a {FORMAT}")
    if description.get("version") != VERSION:
        raise ValueError(f"{folder} has version {description.get('version')} of the format; "
                         f"this code reads {VERSION}")
    return description, tensors


def load_adapter(model: PreTrainedModel, folder: Path | str, adapter: str = "default", *,
                 verify_base: bool = True) -> list[ParameterGroup]:
    """Build the adapter in `folder` on `model`, active, and return its parameter groups as method.apply does.

    ValueError when the model is of another architecture, has other labels or other base weights (unless
    verify_base is False), or when a tensor is left over or missing; the model then keeps the adapter it had.
    """
    description, tensors = read_adapter(folder)
    _check_fits(model, description, folder, verify_base)
    return install(model, method_of(description["method"]), tensors, adapter, pooler=description["pooler"],
                   source=folder)


def _check_fits(model: PreTrainedModel, description: Mapping[str, Any], folder: Path | str,
                verify_base: bool) -> None:
    if (architecture := description["architecture"]) != model.config.model_type:
        raise ValueError(f"{folder} adapts a {architecture} model, this is {model.config.model_type}")
    ours, theirs = _labels(model), description["labels"]
    generic = any(names == [f"LABEL_{i}" for i in range(len(names))] for names in (ours, theirs))
    if description["head"] and (len(ours) != len(theirs) or (ours != theirs and not generic)):
        raise ValueError(f"{folder} has {len(theirs)} labels ({', '.join(theirs)}), "
                         f"this model {len(ours)} ({', '.join(ours)})")
    wanted = description["base"]["fingerprint"]
    if verify_base and fingerprint(model, [*description["in_place"], *description["head"]]) != wanted:
        raise ValueError(f"{folder} was trained on other base weights than this model's: "
                         f"{description['base']}; load that base, or pass verify_base=False")


def install(model: nn.Module, method: Method, tensors: Mapping[str, Tensor], adapter: str, *, pooler: str,
            source: object) -> list[ParameterGroup]:
    """Apply `method` and fill it from `tensors` (plain names), or leave the model with the adapters it had.

    torch's random numbers are left as they were, on the CPU and on the model's GPUs.
    """
    check_new(model, adapter)
    before, trainable = bank(model).active, {p: p.requires_grad for p in model.parameters()}
    try:
        with torch.random.fork_rng(devices=_gpus(model)):
            groups = method.apply(model, pooler=pooler, adapter=adapter)
        tensors = _without_base(source, tensors, model, adapter_tensors(model, adapter))
        load_tensors(model, tensors, adapter)
    except Exception:
        if adapter in adapters(model):
            _take_off(model, adapter, before)
        for parameter, trains in trainable.items():
            parameter.requires_grad_(trains)
        raise
    return groups


def _without_base(source: object, tensors: Mapping[str, Tensor], model: nn.Module,
                  wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without those that are the model's own frozen ones; ValueError for others under a frozen one's name.

    PEFT writes the word embeddings beside an update of the output layer.
    """
    base = {plain_name(key): value for key, value in model.state_dict().items()}
    beside = {key for key in tensors.keys() & base.keys() if key not in wanted}
    other = sorted(key for key in beside if base[key].shape != tensors[key].shape
                   or not torch.equal(base[key].cpu(), tensors[key].to(base[key].dtype)))
    if other:
        raise ValueError(f"{source} holds {len(other)} base weights that are not this model's, and that its method "
                         f"does not train, {', '.join(other[:3])}: modules that trained whole, or another base")
    rest = {key: tensor for key, tensor in tensors.items() if key not in beside}
    account(source, rest, wanted)
    for key, tensor in rest.items():
        check_real(f"{source}: tensor {key}", tensor)
        if not tensor.isfinite().all():
            raise ValueError(f"{source}: tensor {key} holds NaN or infinite values")
    return rest


def _gpus(model: nn.Module) -> list[int]:
    """Numbers of the CUDA devices that hold the model."""
    return sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})


def _take_off(model: nn.Module, adapter: str, before: str | None) -> None:
    """Forget an adapter that could not be filled: its in-place parameters still have the base's values."""
    entry = bank(model).adapters[adapter]
    entry.base = entry.base or {}  # full fine-tuning keeps no copy, and needs none here
    delete(model, adapter)
    if before is not None:
        activate(model, before)
