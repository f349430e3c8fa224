"""PEFT's adapter folders: peft.PeftModel.from_pretrained loads what we write, and we load what PEFT trained.

Keys and options are those of peft 0.21. PEFT adapts whole modules. The updates of a fused projection's parts
become one block update, A = the parts' A stacked, B = each part's B in its own rows and columns with zeros
elsewhere; its rank is the sum of the ranks.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lora.adapter_file import adapter_tensors, find_adapter, install, read_pair, write_pair
from lora.errors import check_choice
from lora.interchange import Size, lora_method, name_targets, pooler_of
from lora.layer import AdaptedDense, adapted_layers
from lora.methods import LoRA, ParameterGroup
from lora.sites import head_modules

TENSORS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."
BIASES = {"none": "none", "sites": "lora_only", "all": "all"}
TASK_TYPES = {"ForSequenceClassification": "SEQ_CLS", "ForCausalLM": "CAUSAL_LM", "LMHeadModel": "CAUSAL_LM"}
READ = {"peft_type", "task_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "lora_dropout",
        "use_rslora", "bias", "init_lora_weights"}
# Options without effect on what a trained file computes, or whose effect the names of its tensors show.
IGNORED = {"base_model_name_or_path", "revision", "peft_version", "auto_mapping", "inference_mode",
           "fan_in_fan_out", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern",
           "modules_to_save", "megatron_core", "qalora_group_size", "runtime_config"}
INITS = (True, False, "gaussian", "orthogonal")  # those that leave the base weights as they are


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
    sizes: dict[str, Size] = {}
    tensors: dict[str, Tensor] = {}
    for module, layer in layers.items():
        sizes[module], A, B = _block(layer, name, method.rank_stabilised)
        tensors |= {f"{PREFIX}{module}.lora_A.weight": A, f"{PREFIX}{module}.lora_B.weight": B}
    trained = adapter_tensors(model, name)
    for key in (*entry.in_place, *entry.head):
        module, _, kind = key.rpartition(".")
        tensors[PREFIX + (f"{module}.base_layer.{kind}" if module in layers else key)] = trained[key]
    if base is None and not Path(name_or_path := model.name_or_path or "").is_absolute():
        base = name_or_path or None
    config = _config(model, method, sizes) | {
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
def _block(layer: AdaptedDense, adapter: str, rank_stabilised: bool) -> tuple[Size, Tensor, Tensor]:
    """One update of the whole module, A (rank, n_in) and B (n_out, rank), equal to its parts' together."""
    updates = list(layer.of(adapter).values())
    scaling, rank = max(update.scaling for update in updates), sum(update.rank for update in updates)
    columns = []
    for update in updates:
        column = update.B.new_zeros(layer.frozen_weight.shape[0], update.rank)  # (n_out, part's rank)
        rows = update.part.of(column, 0)                                        # (groups, size, part's rank)
        rows += update.B.view_as(rows) * (1.0 if update.scaling == scaling else update.scaling / scaling)
        columns.append(column)
    alpha = scaling * (math.sqrt(rank) if rank_stabilised else rank)
    alpha = updates[0].alpha if len(updates) == 1 else alpha
    return Size(rank, alpha), torch.cat([update.A for update in updates]), torch.cat(columns, dim=1)


def _config(model: PreTrainedModel, method: LoRA, sizes: Mapping[str, Size]) -> dict[str, Any]:
    """PEFT's configuration: the first module's rank and alpha, and patterns where others differ."""
    first = next(iter(sizes.values()))
    task_type = next((word for end, word in TASK_TYPES.items() if type(model).__name__.endswith(end)), None)
    return {
        "peft_type": "LORA", "task_type": task_type, "inference_mode": True,
        "r": first.rank, "lora_alpha": first.alpha, "target_modules": list(sizes),
        "rank_pattern": {re.escape(m): size.rank for m, size in sizes.items() if size.rank != first.rank},
        "alpha_pattern": {re.escape(m): size.alpha for m, size in sizes.items() if size.alpha != first.alpha},
        "lora_dropout": method.dropout, "use_rslora": method.rank_stabilised, "bias": BIASES[method.bias],
        "init_lora_weights": "gaussian" if method.init == "gaussian" else True}


def load_peft(model: PreTrainedModel, folder: Path | str, adapter: str = "default") -> list[ParameterGroup]:
    """Put a LoRA adapter that PEFT wrote on `model`, active, and return its parameter groups.

    A fused module that PEFT adapted whole (GPT-2's c_attn) becomes a target by glob. ValueError
    for another kind of adapter, an option that changes the function, and a tensor missing or left over.
    """
    config, saved = read_peft(folder)
    if config.get("task_type") not in (None, *TASK_TYPES.values()):
        check_choice("task_type", str(config["task_type"]), set(TASK_TYPES.values()))
    check_choice("bias", config.get("bias", "none"), BIASES.values())
    modules = [key.removeprefix(PREFIX).removesuffix(".lora_A.weight") for key in saved
               if key.endswith(".lora_A.weight")]
    if not modules:
        raise ValueError(f"{Path(folder) / TENSORS} has no lora_A tensors")
    sizes = {module: size_of(config, module) for module in modules}
    targets = name_targets(model, sizes)
    roles = {site.module: site.role for sites in targets.values() for site in sites}
    tensors = _plain_tensors(saved, roles, biases_thrice=config.get("bias") == "all")
    norms = [name for name, module in model.named_modules() if type(module).__name__.endswith("Norm")]
    method = lora_method({target: sizes[sites[0].module] for target, sites in targets.items()},
                         dropout=config.get("lora_dropout", 0.0),
                         rank_stabilised=config.get("use_rslora", False),
                         init="gaussian" if config.get("init_lora_weights") == "gaussian" else "kaiming",
                         bias={theirs: ours for ours, theirs in BIASES.items()}[config.get("bias", "none")],
                         layernorm=any(f"{name}.weight" in tensors for name in norms))
    return install(model, method, tensors, adapter, pooler=pooler_of(model, tensors), what=folder)


def read_peft(folder: Path | str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """PEFT's configuration and tensors of a LoRA adapter, without a model.

    ValueError for another kind of adapter, and for an option under which dW is more than scaling * B A.
    """
    config, saved = read_pair(Path(folder), TENSORS, CONFIG)
    check_choice(f"{folder}: peft_type", str(config.get("peft_type")), ("LORA",))
    if (init := config.get("init_lora_weights", True)) not in INITS:
        raise ValueError(f"{folder} was trained with init_lora_weights={init!r}, which may change the base "
                         f"weights; supported are {', '.join(map(str, INITS))}")
    for option, value in config.items():
        if value and option not in READ | IGNORED:
            raise ValueError(f"{folder} was trained with {option}={value!r}, which is not supported")
    return config, saved


def size_of(config: Mapping[str, Any], module: str) -> Size:
    """Rank and alpha of a module by PEFT's configuration."""
    return Size(_by_pattern(config, "rank_pattern", "r", module),
                _by_pattern(config, "alpha_pattern", "lora_alpha", module))


def _by_pattern(config: Mapping[str, Any], patterns: str, default: str, module: str) -> Any:
    """PEFT's value for a module: that of the first pattern that ends its name, else the default."""
    for pattern, value in (config.get(patterns) or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return config[default]


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
        if (match := re.fullmatch(r"(.+)\.lora_([AB])\.weight", key)) and match[1] in roles:
            key = f"{match[1]}.{roles[match[1]]}.{match[2]}"
        plain[key] = tensor
    return plain
