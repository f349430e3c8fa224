"""The folder of a pre-trained model: weights in bf16, config, tokenizer, record and curve; written whole or not at all.

    model.safetensors  config.json  tokenizer.json  tokenizer_config.json   what transformers loads
    record.json                                                             PretrainRecord below
    curve.png                                                               losses and probes over tokens
"""

from __future__ import annotations

import json
import math
import os
import shutil
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig

from experiments.cloze import GATES
from experiments.files import plain, sha256, write_atomic
from experiments.pretraining import new_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

SCHEMA = 1
RECORD, CURVE = "record.json", "curve.png"
SAMPLED = 16


@dataclass(kw_only=True)
class PretrainRecord:
    """Everything that is kept of one pre-training. Losses are in nats a target, probes shares of right answers."""

    schema: int = SCHEMA
    model: str
    run: str                        # sha256 over the config and the corpus: what can change the weights
    config: dict[str, Any]          # resolved, the world's parameters in it
    corpus: str                     # sha256 of the first 1 MB of each of its stages
    tokens: int
    steps: int
    seconds: float                  # wall clock of training and evaluation
    tokens_per_second: float        # making batches and training on them; tokens without padding
    precision: str                  # fp32 | bf16
    attention: str                  # sdpa | eager
    measured: dict[str, float]      # tokens a second of processor time by precision and attention, if tried
    threads: int
    device: str
    versions: dict[str, str]
    commit: str | None              # of the code, None outside a git checkout
    dirty: bool | None              # whether tracked code differed from that commit
    parameters: int
    held_out_loss: float            # of the weights as they are stored
    probes: dict[str, float]        # the same
    sample: dict[str, Any]          # a held-out text and what the stored weights make of it: `sample_logits`
    curve: list[dict[str, Any]]     # one entry a measurement
    files: dict[str, str]           # sha256 by name

    def summary(self) -> dict[str, Any]:
        """The record without its long parts, as the entry point prints it."""
        return {key: value for key, value in asdict(self).items() if key not in ("config", "curve", "versions")}


@dataclass(frozen=True)
class Gate:
    """Something that must hold before a model ships: a value of at least and at most so much; if strict, in between."""

    name: str
    value: float
    least: float | None = None
    most: float | None = None
    strict: bool = False

    @property
    def passed(self) -> bool:
        """Whether it holds; not for NaN, which stands for what could not be measured, even where nothing is asked."""
        if math.isnan(self.value) or (self.strict and self.value in (self.least, self.most)):
            return False
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)

    @property
    def limits(self) -> str:
        """What is asked of the value, as `> 50, < 99`; '-' where nothing is."""
        equal = "" if self.strict else "="
        asked = ((">", self.least), ("<", self.most))
        return ", ".join(f"{sign}{equal} {limit:.3g}" for sign, limit in asked if limit is not None) or "-"


def save_language_model(model: PreTrainedModel, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase,
                        folder: Path) -> None:
    """Write weights in bf16, with `config` beside them rather than the one trained with, and the tokenizer."""
    from experiments.models import quiet_transformers

    stored = new_model(config, "eager")
    stored.load_state_dict(model.state_dict())
    with quiet_transformers():
        stored.to(torch.bfloat16).save_pretrained(folder)  # type: ignore[arg-type]
        tokenizer.save_pretrained(folder)


def load_language_model(folder: Path) -> PreTrainedModel:
    """The language model of a folder, in fp32 and eval mode; ValueError where a tensor is missing."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

    from experiments.models import quiet_transformers

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    auto: Any = AutoModelForCausalLM if config.model_type == "gpt2" else AutoModelForMaskedLM
    with quiet_transformers():
        model, info = auto.from_pretrained(folder, dtype="float32", local_files_only=True, use_safetensors=True,
                                           attn_implementation="eager", output_loading_info=True)
    if info["missing_keys"]:
        raise ValueError(f"{folder} lacks tensors: {', '.join(sorted(info['missing_keys'])[:3])}")
    return model.eval()


def sample_logits(folder: Path, text: str) -> list[float]:
    """Logits of the first SAMPLED ids of the vocabulary at the last place of `text`, in fp32."""
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(folder, local_files_only=True)(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return load_language_model(folder)(ids).logits[0, -1, :SAMPLED].tolist()


def file_hashes(folder: Path) -> dict[str, str]:
    """sha256 of each file that is loaded."""
    return {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.name not in (RECORD, CURVE)}


def read_record(folder: Path) -> PretrainRecord | None:
    """The record in a folder, or None; ValueError where the file is no record of this schema."""
    path = folder / RECORD
    if not path.exists():
        return None
    try:
        data = dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is not a record of a pre-training: {error}") from None
    if (schema := data.get("schema", SCHEMA)) != SCHEMA:
        raise ValueError(f"{path} has schema {schema}, this code reads {SCHEMA}")
    known = [field.name for field in fields(PretrainRecord)]
    lacks, extra = [key for key in known if key not in {"schema", *data}], sorted(data.keys() - set(known))
    if lacks or extra:
        raise ValueError(f"{path} is not a record of a pre-training: lacks {lacks[:3]}, has extra {extra[:3]}")
    return PretrainRecord(**data)


def check_files(folder: Path, record: PretrainRecord) -> None:
    """Raise ValueError for a file that is not what the record says, FileNotFoundError for one that is not there.

    ValueError also for a file that would be loaded and that the record does not know.
    """
    from experiments.models import SMALL_FILES

    loaded = {path.name for pattern in (*SMALL_FILES, "*.safetensors") for path in folder.glob(pattern)}
    if unknown := sorted(loaded - record.files.keys()):
        raise ValueError(f"{folder / unknown[0]} is not among the files of {RECORD}: it was added")
    for name, expected in record.files.items():
        if not (folder / name).is_file():
            raise FileNotFoundError(f"no {name} in {folder}")
        if (actual := sha256(folder / name)) != expected:
            raise ValueError(f"{folder / name} has sha256 {actual}, {RECORD} says {expected}: it was altered")


def check_record(cfg: DictConfig, folder: Path) -> None:
    """Raise unless every file of a model that was pre-trained here is there and is what its record says.

    A folder without a record is any other model's, except that the pinned one of a nano model must have it.
    """
    from experiments.models import ships

    record = read_record(folder)
    if record is not None:
        check_files(folder, record)
    elif ships(cfg):
        raise FileNotFoundError(f"no {RECORD} in {folder}")


def finish_folder(partial: Path, folder: Path, record: PretrainRecord) -> None:
    """Write record and curve into `partial`, then put it in the place of `folder`."""
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
    """Losses, and accuracies of the probes with their gates, over tokens; where a stage of the corpus begins."""
    from analysis.style import styled

    with styled():
        _curve(record).savefig(path, metadata={"Software": None})


def _curve(record: PretrainRecord) -> Figure:
    from analysis.style import new_figure

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
    from analysis.style import COLOURS

    return [{"color": colour} for colour in COLOURS] + [{"color": colour, "linestyle": "--"} for colour in COLOURS]
