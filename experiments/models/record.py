"""The record of a pre-training, and the check of a model folder against it."""
from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from experiments.store.files import sha256

SMALL_FILES = (
    *("config.json", "generation_config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json"),
    *("vocab*", "*.model", "*.spm", "*.codes", "merges.txt", "dict.txt", "prophetnet.tokenizer", "tekken.json"),
    *("*_vocab.json", "byte_maps.json", "emoji.json", "normalizer.json", "word_shape.json", "word_pronunciation.json"),
    "*.index.json",
)


def ships(cfg: DictConfig) -> bool:
    """True for a model of the repository at its place there."""
    return "pretraining" in cfg and cfg.path == cfg.pinned


SCHEMA = 1
RECORD, CURVE = "record.json", "curve.png"


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
    names = [field.name for field in fields(PretrainRecord)]
    lacks, extra = [key for key in names if key not in {"schema", *data}], sorted(data.keys() - set(names))
    if lacks or extra:
        raise ValueError(f"{path} is not a record of a pre-training: lacks {lacks[:3]}, has extra {extra[:3]}")
    return PretrainRecord(**data)


def check_files(folder: Path, record: PretrainRecord) -> None:
    """Raise ValueError for a file that is not what the record says, FileNotFoundError for one that is not there.

    ValueError also for a file that would be loaded and that the record does not know.
    """

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

    record = read_record(folder)
    if record is not None:
        check_files(folder, record)
    elif ships(cfg):
        raise FileNotFoundError(f"no {RECORD} in {folder}")
