"""PEFT's adapter folders: peft.PeftModel.from_pretrained loads what we write, and we load what PEFT trained.

Keys and options are those of peft 0.21. PEFT adapts whole modules. The updates of a fused projection's parts
become one block update, A = the parts' A stacked, B = each part's B in its own rows and columns with zeros
elsewhere; its rank is the sum of the ranks.

PEFT takes PiSSA's B0 A0 out of the base weights when it loads a file, by the decomposition that the method makes.
It would decompose a fused projection as one matrix, so PiSSA's updates of its parts are written as LoRA's of twice
the rank: B A - B0 A0 = [B, -B0] [A; A0].
"""

import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lora.adapter_file import adapter_tensors, find_adapter, install
from lora.errors import check_choice, is_number
from lora.interchange import Size, lora_method, name_targets, pooler_of
from lora.layer import AdaptedDense, adapted_layers
from lora.low_rank import LowRank, wide
from lora.methods import LoRA, ParameterGroup
from lora.pair_file import read_pair, write_pair
from lora.peft_keys import PREFIX, peft_keys
from lora.sites import LAYER_NUMBER, head_modules, layer_number

TENSORS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PICKLE = "adapter_model.bin"  # of the versions before 0.7, and of save_pretrained(safe_serialization=False)
BIASES = {"none": "none", "sites": "lora_only", "all": "all"}
TASK_TYPES = {"ForSequenceClassification": "SEQ_CLS", "ForCausalLM": "CAUSAL_LM", "LMHeadModel": "CAUSAL_LM"}
READ = {"peft_type", "task_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "lora_dropout",
        "use_rslora", "use_dora", "bias", "init_lora_weights"}
# Options without effect on what a trained file computes, or whose effect the names of its tensors show.
IGNORED = {"base_model_name_or_path", "revision", "peft_version", "auto_mapping", "inference_mode",
           "fan_in_fan_out", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern",
           "modules_to_save", "megatron_core", "qalora_group_size", "runtime_config", "eva_config"}
# those that leave the base weights as they are, and the one of which it is known what it takes out of them
INITS = (True, False, "gaussian", "orthogonal", "eva", "pissa")


def save_peft(model: PreTrainedModel, folder: Path | str, adapter: str | None = None, *,
              base: str | None = None, revision: str | None = None) -> Path:
    """Write a LoRA adapter (the active one unless named) in PEFT's layout, unmerged; return the folder.

    `base` (a name or a path) and `revision` tell PEFT's readers where the base model is. By default it is the name
    that the model was loaded by, or null for a folder of this machine.
    """
    name, entry = find_adapter(model, adapter)
    if not isinstance(method := entry.method, LoRA):
        raise ValueError(f"adapter {name!r} is {entry.method.name}: "
                         "PEFT's LoRA layout holds only LoRA adapters")
    if not method.position_query:
        raise ValueError(f"adapter {name!r} has position_query=false: "
                         "PEFT always adapts the position query too")
    layers = {module: layer for module, layer in adapted_layers(model) if layer.of(name)}
    whole = _modules_to_save(model, entry.head, entry.in_place, method)
    fused = any(update.part.parts > 1 for layer in layers.values() for update in layer.of(name).values())
    pissa = method.init == "pissa" and not fused
    sizes: dict[str, Size] = {}
    tensors: dict[str, Tensor] = {}
    for module, layer in layers.items():
        sizes[module], A, B = _block(layer, name, method.rank_stabilised, pissa)
        tensors |= {f"{PREFIX}{module}.lora_A.weight": A, f"{PREFIX}{module}.lora_B.weight": B}
        if method.dora:
            tensors[f"{PREFIX}{module}.lora_magnitude_vector"] = _magnitudes(layer, name)
    trained = adapter_tensors(model, name)
    for key in (*entry.in_place, *entry.head):
        module, _, kind = key.rpartition(".")
        tensors[PREFIX + (f"{module}.base_layer.{kind}" if module in layers else key)] = trained[key]
    if base is None and not Path(name_or_path := model.name_or_path or "").is_absolute():
        base = name_or_path or None
    config = _config(model, method, sizes, pissa) | {
        "base_model_name_or_path": base, "revision": revision, "modules_to_save": whole or None,
        "fan_in_fan_out": any(layer.transposed for layer in layers.values())}
    return write_pair(Path(folder), TENSORS, tensors, CONFIG, config, digest=False)


def _modules_to_save(model: nn.Module, head: list[str], in_place: list[str], method: LoRA) -> list[str]:
    """Modules that PEFT trains whole: the head, and LayerNorms if the method trains them."""
    heads = [name for name in head_modules(model, "train") if any(key.startswith(f"{name}.") for key in head)]
    weights = [key for key in in_place if key.endswith(".weight")] if method.layernorm else []
    norms = [key.removesuffix(".weight") for key in weights]
    covered = tuple(f"{name}." for name in norms)
    if odd := [key for key in in_place if not key.endswith(".bias") and not key.startswith(covered)]:
        raise ValueError(f"PEFT's bias options cannot hold {', '.join(odd[:3])}")
    return heads + norms


@torch.no_grad()
def _block(layer: AdaptedDense, adapter: str, rank_stabilised: bool, pissa: bool) -> tuple[Size, Tensor, Tensor]:
    """One update of the whole module, A (rank, n_in) and B (n_out, rank), equal to its parts' together.

    With `pissa` the reader takes B0 A0 out of the base weights, else they are a part of the update.
    """
    updates = list(layer.of(adapter).values())
    scaling = max(update.scaling for update in updates)
    pairs: list[tuple[LowRank, Tensor, Tensor]] = [(update, update.A, update.B) for update in updates]
    if not pissa:
        pairs += [(u, u.A0, -u.B0) for u in updates if u.A0 is not None and u.B0 is not None]
    columns = []
    for update, _, B in pairs:
        column = B.new_zeros(layer.frozen_weight.shape[0], update.rank)  # (n_out, part's rank)
        rows = update.part.of(column, 0)                                 # (groups, size, part's rank)
        rows += B.view_as(rows) * (1.0 if update.scaling == scaling else update.scaling / scaling)
        columns.append(column)
    rank = sum(update.rank for update, _, _ in pairs)
    alpha = scaling * (math.sqrt(rank) if rank_stabilised else rank)
    alpha = updates[0].alpha if len(pairs) == 1 else alpha
    return Size(rank, alpha), torch.cat([A for _, A, _ in pairs]), torch.cat(columns, dim=1)


@torch.no_grad()
def _magnitudes(layer: AdaptedDense, adapter: str) -> Tensor:
    """DoRA's magnitudes of the whole module, (n_out,): outside its parts |W0|, which changes nothing."""
    whole = torch.linalg.vector_norm(wide(layer.frozen_weight), dim=1)
    for update in layer.of(adapter).values():
        assert update.magnitude is not None
        part = update.part.of(whole, 0)  # (groups, size)
        part.copy_(update.magnitude.view_as(part))
    return whole


def _config(model: PreTrainedModel, method: LoRA, sizes: Mapping[str, Size], pissa: bool) -> dict[str, Any]:
    """PEFT's configuration: the first module's rank and alpha, and patterns where others differ."""
    first = next(iter(sizes.values()))
    task_type = next((word for end, word in TASK_TYPES.items() if type(model).__name__.endswith(end)), None)
    return {
        "peft_type": "LORA", "task_type": task_type, "inference_mode": True,
        "r": first.rank, "lora_alpha": first.alpha, "target_modules": list(sizes),
        "rank_pattern": {re.escape(m): size.rank for m, size in sizes.items() if size.rank != first.rank},
        "alpha_pattern": {re.escape(m): size.alpha for m, size in sizes.items() if size.alpha != first.alpha},
        "lora_dropout": method.dropout, "use_rslora": method.rank_stabilised, "use_dora": method.dora,
        "bias": BIASES[method.bias],
        "init_lora_weights": "pissa" if pissa else "gaussian" if method.init == "gaussian" else True}


def load_peft(model: PreTrainedModel, folder: Path | str, adapter: str = "default") -> list[ParameterGroup]:
    """Put a LoRA adapter that PEFT wrote on `model`, active, and return its parameter groups.

    A fused module that PEFT adapted whole (GPT-2's c_attn) becomes a target by glob. ValueError
    for another kind of adapter, an option that changes the function, and a tensor missing or left over.
    """
    config, saved = read_peft(folder)
    if config.get("task_type") not in (None, *TASK_TYPES.values()):
        check_choice("task_type", str(config["task_type"]), set(TASK_TYPES.values()))
    check_choice("bias", config.get("bias", "none"), BIASES.values())
    if embeddings := [key for key in saved if key.endswith(".lora_embedding_A")]:
        raise ValueError(f"{folder} updates word embeddings, {embeddings[0].removeprefix(PREFIX)}: only updates of "
                         "dense maps can be put on a model")
    ranks = {key.removeprefix(PREFIX).removesuffix(".lora_A.weight"): len(A) for key, A in saved.items()
             if key.endswith(".lora_A.weight")}
    if not ranks:
        raise ValueError(f"{folder} has no lora_A tensors")
    _check_layers(model, config, ranks, folder)
    sizes = {module: size_of(config, module, rank) for module, rank in ranks.items()}
    targets = name_targets(model, sizes)
    roles = {site.module: site.role for sites in targets.values() for site in sites}
    tensors = _plain_tensors(saved, roles, biases_thrice=config.get("bias") == "all")
    norms = [name for name, module in model.named_modules() if type(module).__name__.endswith("Norm")]
    method = lora_method({target: sizes[sites[0].module] for target, sites in targets.items()},
                         dropout=config.get("lora_dropout", 0.0),
                         rank_stabilised=config.get("use_rslora", False),
                         init=init if (init := config.get("init_lora_weights")) in ("gaussian", "pissa") else "kaiming",
                         dora=config.get("use_dora", False),
                         bias={theirs: ours for ours, theirs in BIASES.items()}[config.get("bias", "none")],
                         layernorm=any(f"{name}.weight" in tensors for name in norms))
    return install(model, method, tensors, adapter, pooler=pooler_of(model, tensors), source=folder)


def _check_layers(model: nn.Module, config: Mapping[str, Any], modules: Collection[str], folder: Path | str) -> None:
    """ValueError where the file has an update of a module in some layers, and not in others that it names too."""
    targets = config.get("target_modules")
    if isinstance(targets, str) or config.get("exclude_modules") or config.get("layers_to_transform") is not None:
        return  # as these say, layers may be left out
    ends = tuple(f".{target}" for target in targets or () if layer_number(target) is None)
    starred = {LAYER_NUMBER.sub("*", module) for module in modules}
    if lacks := [name for name, _ in model.named_modules() if name not in modules and f".{name}".endswith(ends)
                 and LAYER_NUMBER.sub("*", name) in starred]:
        raise ValueError(f"{folder} lacks the updates of {len(lacks)} modules that its target_modules name, "
                         f"{', '.join(lacks[:3])}")


def read_peft(folder: Path | str, beside: Collection[str] = ()) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """PEFT's configuration and tensors of a LoRA adapter, without a model.

    ValueError for another kind of adapter, and for an option under which dW does not follow from the file and W0.
    `beside` are options that the reader allows too, as they add something else.
    """
    config, saved = read_pair(Path(folder), TENSORS, CONFIG, PICKLE)
    check_choice(f"{folder}: peft_type", str(config.get("peft_type")), ("LORA",))
    sizes = {key: config.get(key) for key in ("r", "lora_alpha")}
    for patterns in ("rank_pattern", "alpha_pattern"):
        sizes |= {f"{patterns} of {module}": size for module, size in (config.get(patterns) or {}).items()}
    for key, size in sizes.items():
        if not is_number(size) or size <= 0:  # type: ignore[operator]
            raise ValueError(f"{Path(folder) / CONFIG}: {key} is {size!r}, not a number above 0")
    for key in ("use_rslora", "use_dora"):
        if not isinstance(config.get(key) or False, bool):
            raise ValueError(f"{Path(folder) / CONFIG}: {key} is {config[key]!r}, not true or false")
    if (init := config.get("init_lora_weights", True)) not in INITS:
        raise ValueError(f"{folder} was trained with init_lora_weights={init!r}, which may change the base "
                         f"weights; supported are {', '.join(map(str, INITS))}")
    for option, value in config.items():
        if value and option not in {*READ, *IGNORED, *beside}:
            raise ValueError(f"{folder} was trained with {option}={value!r}, which is not supported")
    tensors = peft_keys(saved, folder)
    magnitudes = [key.removeprefix(PREFIX) for key in tensors if key.endswith(".lora_magnitude_vector")]
    if magnitudes and not config.get("use_dora"):
        raise ValueError(f"{folder} has magnitudes of DoRA, {magnitudes[0]}, and {CONFIG} not use_dora")
    return config, tensors


def size_of(config: Mapping[str, Any], module: str, rank: int) -> Size:
    """Rank and alpha of a module by PEFT's configuration, for an A of `rank` rows; ValueError where they do not fit.

    PEFT takes the first pattern that ends the module's name, and writes patterns sorted: of several with different
    values the file does not tell the first. The rank is that of A.
    """
    ranks = _by_pattern(config, "rank_pattern", "r", module)
    if rank not in ranks:
        raise ValueError(f"tensor {PREFIX}{module}.lora_A.weight has rank {rank}, {CONFIG} says "
                         f"{' or '.join(map(str, ranks))}")
    alphas = _by_pattern(config, "alpha_pattern", "lora_alpha", module)
    if len(alphas) > 1:
        raise ValueError(f"{CONFIG}: alpha_pattern gives {module} several values, {', '.join(map(str, alphas))}; PEFT "
                         "takes the first, and does not keep the order in its files: leave one")
    return Size(rank, alphas[0])


def _by_pattern(config: Mapping[str, Any], patterns: str, default: str, module: str) -> list[Any]:
    """The values of the patterns that end a module's name, each once; the default where none does."""
    values = [value for pattern, value in (config.get(patterns) or {}).items()
              if re.match(rf"(.*\.)?({pattern})$", module)]
    return list(dict.fromkeys(values)) or [config[default]]


def _plain_tensors(saved: Mapping[str, Tensor], roles: Mapping[str, str],
                   biases_thrice: bool) -> dict[str, Tensor]:
    """PEFT's tensors by our plain names; a key that is not PEFT's stays, to be reported as extra.

    With bias="all" PEFT writes the biases of a module that it saves whole three times: as `classifier.bias`, which
    is the trained one, and under `classifier.modules_to_save` (with the adapter's name, in a head of several layers)
    and `classifier.original_module`.
    """
    plain = {}
    for key, tensor in saved.items():
        unmarked = re.sub(r"\.(modules_to_save(\.[^.]+)?|original_module)\.(?=.*bias$)", ".", key)
        if biases_thrice and unmarked != key and unmarked in saved:
            continue
        key = key.removeprefix(PREFIX).replace(".base_layer.", ".")
        if (match := re.fullmatch(r"(.+)\.lora_(?:([AB])\.weight|(magnitude)_vector)", key)) and match[1] in roles:
            key = f"{match[1]}.{roles[match[1]]}.{match[2] or match[3]}"
        plain[key] = tensor
    return plain
