"""The authors' loralib checkpoints: a pickled state dict of lora_A and lora_B by module, and the head.

loralib.Linear keeps lora_A (rank, n_in) and lora_B (n_out, rank). loralib.MergedLinear keeps the enabled
parts of a fused projection stacked, lora_A (parts * rank, n_in) and lora_B (parts * size, rank).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor
from transformers import PreTrainedModel

from lora.adapter_file import install
from lora.interchange import Size, lora_method, name_targets, pooler_of, unwrapped
from lora.methods import ParameterGroup
from lora.pair_file import read_pickle, tensors_of

ENABLED = {2: ("q", "v"), 3: ("q", "k", "v")}  # the paper's GPT-2 adapts q and v


def load_loralib(model: PreTrainedModel, file: Path | str, alpha: float | None = None,
                 adapter: str = "default", *, fused: Sequence[str] | None = None) -> list[ParameterGroup]:
    """Put the adapter in a loralib checkpoint on `model`, active, and return its parameter groups.

    alpha is not in the file, so the caller must know it. `fused` names the roles that MergedLinear layers
    adapt, in their order; by default q, v for two parts and q, k, v for three. Every tensor is accounted for.
    """
    if alpha is None:
        raise ValueError(f"alpha is not stored in {file}, and without it the update has no scale: pass what "
                         "the run used (the authors' RoBERTa-base MNLI checkpoint: 16)")
    saved = read_loralib(file)
    modules = [key.removesuffix(".lora_A") for key in saved if key.endswith(".lora_A")]
    if unpaired := [m for m in modules if f"{m}.lora_B" not in saved]:
        raise ValueError(f"{file} has lora_A without lora_B for {', '.join(unpaired[:3])}")
    pairs = {module: (saved.pop(f"{module}.lora_A"), saved.pop(f"{module}.lora_B")) for module in modules}
    if not pairs:
        raise ValueError(f"{file} is no loralib checkpoint: it has no lora_A")
    whole = {m: Size(B.shape[1], alpha) for m, (A, B) in pairs.items() if not is_merged(A, B, fused)}
    targets = name_targets(model, whole)
    sizes = {target: whole[sites[0].module] for target, sites in targets.items()}
    for site in (site for sites in targets.values() for site in sites):
        A, B = pairs.pop(site.module)
        saved |= {f"{site.module}.{site.role}.A": A, f"{site.module}.{site.role}.B": B}
    for module, (A, B) in pairs.items():
        for role, (A_of_role, B_of_role) in split_merged(module, A, B, fused).items():
            saved |= {f"{module}.{role}.A": A_of_role, f"{module}.{role}.B": B_of_role}
            sizes[role] = Size(B.shape[1], alpha)
    return install(model, lora_method(sizes), saved, adapter, pooler=pooler_of(model, saved), source=file)


def is_merged(A: Tensor, B: Tensor, fused: Sequence[str] | None) -> bool:
    """True for a pair of MergedLinear. With one enabled part its shapes are those of a Linear: then `fused` decides."""
    return len(A) != B.shape[1] or (fused is not None and len(fused) == 1)


def split_merged(module: str, A: Tensor, B: Tensor,
                 fused: Sequence[str] | None = None) -> dict[str, tuple[Tensor, Tensor]]:
    """A and B of each role out of MergedLinear's stacks; `fused` as in load_loralib."""
    rank = B.shape[1]
    roles = fused or ENABLED.get(len(A) // rank, ())
    if len(A) != rank * len(roles) or len(B) % max(1, len(roles)):
        raise ValueError(f"{module} has lora_A {tuple(A.shape)} and lora_B {tuple(B.shape)}: "
                         f"{len(A) / rank:g} parts of rank {rank}, "
                         f"while `fused` names {len(roles)} ({', '.join(roles) or 'none'})")
    pairs = zip(A.split(rank), B.split(len(B) // len(roles)), strict=True)
    return dict(zip(roles, pairs, strict=True))


def read_loralib(file: Path | str) -> dict[str, Tensor]:
    """The state dict, read without running code, names as in transformers' models."""
    if not (file := Path(file)).is_file():
        raise FileNotFoundError(f"no loralib checkpoint at {file}")
    content = read_pickle(file)
    # the authors' GPT-2 scripts wrap the state dict, and DistributedDataParallel the model
    state = tensors_of(file, content.get("model_state_dict", content) if isinstance(content, Mapping) else content)
    if theirs := [key for key in state if ".lora_A." in key]:
        raise ValueError(f"{file} holds {theirs[0]}, a tensor of PEFT: give the folder with its adapter_config.json")
    plain = {unwrapped(key): value for key, value in state.items()}
    if len(plain) < len(state):
        raise ValueError(f"{file} holds tensors twice, with and without a prefix such as module.")
    return plain
