"""Pre-train one nano model: from its checkpoint or the start to the finished folder.

    <output>/<model>/        the finished model (experiments.pretraining.folder)
    <output>/checkpoints/    states of unfinished pre-trainings, one for each config and corpus
    <output>/locks/          so that two processes never compute one model at once

The identity of a run is its config without the keys of NOT_RUN, and the corpus. A finished model of the same identity
is not trained again; one of another config is replaced with overwrite=true only.
"""
from __future__ import annotations

import hashlib
import itertools
import json
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from experiments.config.compose import plain_dict
from experiments.models.record import RECORD, PretrainRecord, check_files, read_record
from experiments.pretraining.config import check_stages
from experiments.pretraining.folder import (
    file_hashes,
    finish_folder,
    load_language_model,
    sample_logits,
    save_language_model,
)
from experiments.pretraining.language import CorpusSource, Language
from experiments.pretraining.loop import Pretraining, begin_positions, fastest, new_model
from experiments.pretraining.tokenizer import build_tokenizer, rounded_size
from experiments.store.checkpoint import FILE, load_checkpoint, remove_checkpoint, seed_everything
from experiments.store.files import check_writable
from experiments.store.store import Store, git_state, versions
from experiments.tasks.world.corpus import CURRICULA, documents
from experiments.tasks.world.probes import probes
from experiments.tasks.world.vocabulary import answers, function_words, vocabulary
from experiments.training.hardware import describe, take_threads
from lora.errors import check_choice

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

NOT_RUN = ("output", "overwrite", "check", "tasks", "gates", "threads", "checkpoint_every")
CORPUS_BYTES = 1_000_000  # of each stage of the corpus, hashed in its place
log = logging.getLogger(__name__)


def world_source(world: DictConfig, curriculum: str | None) -> CorpusSource:
    """The corpus of the world in `conf/world`; ValueError for an unknown curriculum (None: mentions)."""
    curriculum = "mentions" if curriculum is None else curriculum
    check_choice("curriculum", curriculum, CURRICULA)
    instance = instantiate(world)
    return CorpusSource(vocabulary(), function_words(), answers(),
                        lambda seed, held_out, stage: documents(instance, curriculum, seed, held_out, stage),
                        lambda count: probes(instance, count), len(CURRICULA[curriculum]))


def run(cfg: DictConfig, source: CorpusSource) -> PretrainRecord:
    """The record of the model that `cfg` describes; trains it unless it is finished."""
    output = Path(cfg.output)
    check_stages(cfg.stages, source.stages)
    folder, store = output / cfg.model.name, Store(output)
    check_writable(f"output {output}", output)
    corpus = corpus_hash(source, cfg.seed)
    name = hashlib.sha256(json.dumps(run_config(cfg) | {"corpus": corpus}, sort_keys=True).encode()).hexdigest()
    with store.lock(cfg.model.name):
        stored = read_record(folder)
        if stored is not None and stored.run == name and not cfg.overwrite:
            check_files(folder, stored)
            log.info("%s is done: this is its record", cfg.model.name)
            return stored
        if stored is not None and not cfg.overwrite:
            raise ValueError(f"{folder} holds a model of {_difference(cfg, corpus, stored)}: overwrite=true replaces "
                             "it, output=<folder> keeps both")
        return _train(cfg, source, folder, store.checkpoint_folder(f"{cfg.model.name}-{name[:8]}"), name, corpus)


def run_config(cfg: DictConfig) -> dict[str, Any]:
    """The keys that can change the weights or the measurements; of the model, its shape. Null changes nothing."""
    kept = {key: value for key, value in plain_dict(cfg).items() if key not in NOT_RUN and value is not None}
    return kept | {"model": {"name": cfg.model.name, "config": kept["model"]["config"]}}


def corpus_hash(source: CorpusSource, seed: int) -> str:
    """sha256 of the first 1 MB of each stage of the corpus: segments on lines, a blank line after each document."""
    digest = hashlib.sha256()
    for stage in range(source.stages):
        text = bytearray()
        for document in source.documents(seed, False, stage):
            text += ("\n".join(document.segments) + "\n\n").encode()
            if len(text) >= CORPUS_BYTES:
                break
        digest.update(text[:CORPUS_BYTES])
    return digest.hexdigest()


def _train(cfg: DictConfig, source: CorpusSource, folder: Path, checkpoints: Path, name: str,
           corpus: str) -> PretrainRecord:
    """Train from the checkpoint or the start, store the model, and measure it as it is stored."""
    from transformers import AutoConfig


    config = AutoConfig.for_model(**run_config(cfg)["model"]["config"])
    threads = take_threads(cfg.threads, _parameters(config))
    language = make_language(cfg, source)
    arithmetic = _arithmetic(cfg, config, language, checkpoints, folder, name)
    seed_everything(cfg.seed)
    model = new_model(config, arithmetic["attention"], cfg.dropout)
    begin_positions(model, cfg.positions)
    training = Pretraining(cfg, model, language, checkpoints, {"run": name, "arithmetic": arithmetic})
    training.fit()
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    save_language_model(model, config, language.tokenizer, partial)
    training.measure(load_language_model(partial))
    record = _record(cfg, training, partial, name, corpus, threads)
    finish_folder(partial, folder, record)
    remove_checkpoint(checkpoints)
    return record


def _parameters(config: PreTrainedConfig) -> int:
    """Number of parameters of a language model of this config."""
    with torch.device("meta"):
        return new_model(config, "eager").num_parameters()


def make_language(cfg: DictConfig, source: CorpusSource) -> Language:
    """The corpus tokenized for the model's architecture; ValueError where the model has another vocabulary size."""
    tokenizer = build_tokenizer(source.vocabulary, cfg.model.config.model_type, cfg.max_length)
    size, stated = rounded_size(len(tokenizer)), cfg.model.config.vocab_size
    if size != stated:
        raise ValueError(f"model.config.vocab_size is {stated}, the {len(tokenizer)} words and special tokens of this "
                         f"world, rounded up to a multiple of 8, are {size}")
    return Language(source, tokenizer, cfg.masking, cfg.max_length)


def _arithmetic(cfg: DictConfig, config: PreTrainedConfig, language: Language, checkpoints: Path, folder: Path,
                name: str) -> dict[str, Any]:
    """precision, attention and measured speeds: the checkpoint's, or chosen now; removes another run's checkpoint."""
    state = load_checkpoint(checkpoints)
    if state is not None and state["run"] == name and not _finished_later(checkpoints, folder, name):
        return state["arithmetic"]
    if state is not None:
        log.info("%s: starts anew, the checkpoint is of another config or corpus, or older than the finished model",
                 cfg.model.name)
        remove_checkpoint(checkpoints)
    precision, attention, measured = fastest(cfg, config, language)
    return {"precision": precision, "attention": attention, "measured": measured}


def _finished_later(checkpoints: Path, folder: Path, name: str) -> bool:
    """True where this run was finished after its checkpoint, which then must not be resumed by a new training."""
    stored = read_record(folder)
    if stored is None or stored.run != name:
        return False
    return (folder / RECORD).stat().st_mtime_ns > (checkpoints / FILE).stat().st_mtime_ns


def _record(cfg: DictConfig, training: Pretraining, folder: Path, name: str, corpus: str,
            threads: int) -> PretrainRecord:
    """The record of what was trained and measured; `folder` holds the stored files."""
    source = training.language.source
    text = " ".join(next(iter(source.documents(0, True, source.stages - 1))).segments)
    commit, dirty = git_state()
    progress, last = training.progress, training.progress.curve[-1]
    return PretrainRecord(
        model=cfg.model.name, run=name, config=run_config(cfg), corpus=corpus, tokens=progress.tokens,
        steps=progress.step, seconds=progress.seconds, tokens_per_second=progress.tokens / progress.train_seconds,
        **training.identity["arithmetic"], threads=threads, device=describe(torch.device("cpu"), 1),
        versions=versions(), commit=commit, dirty=dirty,
        parameters=sum(p.numel() for p in training.model.parameters()), held_out_loss=last["held_out_loss"],
        probes=last["probes"], sample={"text": text, "logits": sample_logits(folder, text)}, curve=progress.curve,
        files=file_hashes(folder))


def _difference(cfg: DictConfig, corpus: str, stored: PretrainRecord) -> str:
    """Differences of the stored model's config to this one, as `tokens=5000 (here 1000)`, or another corpus."""
    config, stored_config = _flat(run_config(cfg)), _flat(stored.config)
    different = [f"{key}={stored_config.get(key)} (here {config.get(key)})" for key in sorted({*config, *stored_config})
                 if config.get(key) != stored_config.get(key)]
    if stored.corpus != corpus:
        different.append("another corpus")
    return ", ".join(different[:4]) or "another config"


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values of a nested dict by dotted key."""
    parts = ((f"{prefix}{key}", value) for key, value in tree.items())
    return dict(itertools.chain.from_iterable(
        _flat(value, f"{key}.").items() if isinstance(value, dict) else [(key, value)] for key, value in parts))
