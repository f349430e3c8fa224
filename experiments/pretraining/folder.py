"""The folder of a pre-trained model: weights in bf16, config, tokenizer, record and curve; written whole or not at all.

    model.safetensors  config.json  tokenizer.json  tokenizer_config.json   what transformers loads
    record.json                                                             experiments.models.record
    curve.png                                                               losses and probes over tokens
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from analysis.figures.style import COLOURS, new_figure, styled
from experiments.models.load import quiet_transformers
from experiments.models.record import CURVE, RECORD, PretrainRecord
from experiments.pretraining.cloze import GATES
from experiments.pretraining.loop import new_model
from experiments.store.files import plain, sha256, write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

SAMPLED = 16  # logits


def save_language_model(model: PreTrainedModel, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase,
                        folder: Path) -> None:
    """Write the weights in bf16, `config` in place of the one trained with, and the tokenizer."""
    stored = new_model(config, "eager")
    stored.load_state_dict(model.state_dict())
    with quiet_transformers():
        stored.to(torch.bfloat16).save_pretrained(folder)  # type: ignore[arg-type]
        tokenizer.save_pretrained(folder)


def load_language_model(folder: Path) -> PreTrainedModel:
    """The language model of a folder, in fp32 and eval mode; ValueError where a tensor is missing."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    auto: Any = AutoModelForCausalLM if config.model_type == "gpt2" else AutoModelForMaskedLM
    with quiet_transformers():
        model, info = auto.from_pretrained(folder, dtype="float32", local_files_only=True, trust_remote_code=False,
                                           use_safetensors=True, attn_implementation="eager", output_loading_info=True)
    if info["missing_keys"]:
        raise ValueError(f"{folder} lacks tensors: {', '.join(sorted(info['missing_keys'])[:3])}")
    return model.eval()


def sample_logits(folder: Path, text: str) -> list[float]:
    """Logits of the first SAMPLED ids of the vocabulary at the last token of `text`, in fp32."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return load_language_model(folder)(ids).logits[0, -1, :SAMPLED].tolist()


def file_hashes(folder: Path) -> dict[str, str]:
    """sha256 of each file but the record and the curve, by name."""
    return {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.name not in (RECORD, CURVE)}


def finish_folder(partial: Path, folder: Path, record: PretrainRecord) -> None:
    """Write record and curve into the folder `partial`, then replace `folder` by it."""
    draw_curve(record, partial / CURVE)
    write_atomic(partial / RECORD, json.dumps(plain(asdict(record)), indent=1) + "\n")
    for path in partial.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    if folder.exists():  # a folder cannot be replaced in one step: the record, which says it is whole, goes first
        (folder / RECORD).unlink(missing_ok=True)
        shutil.rmtree(folder)
    os.replace(partial, folder)


def draw_curve(record: PretrainRecord, path: Path) -> None:
    """Draw losses, and accuracies of the probes with their gates, over tokens, with the stages of the corpus."""
    with styled():
        _curve(record).savefig(path, metadata={"Software": None})


def _curve(record: PretrainRecord) -> Figure:
    figure = new_figure(3.1)
    losses, probes = figure.subplots(1, 2)
    millions = [entry["tokens"] / 1e6 for entry in record.curve]
    for key, label in (("loss", "training"), ("held_out_loss", "held-out")):
        losses.plot(millions, [entry[key] for entry in record.curve], marker=".", label=label)
    losses.set(xlabel="million tokens", ylabel="loss (nats a target)", title=f"{record.model}: loss")
    for kind, style in zip(record.probes, _styles(), strict=False):
        probes.plot(millions, [entry["probes"][kind] for entry in record.curve], marker=".", label=kind, **style)
    for gate in sorted({GATES[kind] for kind in record.probes if kind in GATES}):
        probes.axhline(gate, color="grey", linewidth=0.8, linestyle=":")
    probes.set(xlabel="million tokens", ylabel="accuracy", ylim=(0, 1.02),
               title="cloze probes (dotted: gates, dashed: stages)")
    for axes in (losses, probes):
        for share in record.config["stages"]:
            axes.axvline(share * record.config["tokens"] / 1e6, color="grey", linewidth=0.8, linestyle="--")
        axes.legend()
        axes.grid()
    return figure


def _styles() -> list[dict[str, Any]]:
    return [{"color": colour} for colour in COLOURS] + [{"color": colour, "linestyle": "--"} for colour in COLOURS]
