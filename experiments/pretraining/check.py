"""The check of a shipped model: its files are unchanged, and it passes the gates."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf

from experiments.models.files import checked_folder
from experiments.models.load import load_tokenizer
from experiments.models.record import PretrainRecord, read_record
from experiments.pretraining.cloze import GATES, accuracies, held_out_loss
from experiments.pretraining.folder import load_language_model
from experiments.pretraining.gates import Gate, store_folder
from experiments.pretraining.language import CorpusSource, Language
from experiments.tables.publish import Sheet, publish
from experiments.training.hardware import take_threads

REBUILT = 0.01  # largest relative difference between the held-out losses of a rebuilt model and the shipped one
log = logging.getLogger(__name__)


def check_shipped(cfg: DictConfig, source: CorpusSource) -> dict[str, Any]:
    """Measure the model at model.path again, log each gate once it is measured, and publish all of them.

    Raises FileNotFoundError for a file that is missing, ValueError for one that was altered and for a model of a world
    with another vocabulary.
    """
    folder = checked_folder(cfg.model)
    model = load_language_model(folder)
    take_threads(cfg.threads, model.num_parameters())
    tokenizer = load_tokenizer(cfg.model)
    if unknown := sorted(set(source.vocabulary) - set(tokenizer.get_vocab())):
        raise ValueError(f"{folder} was trained in another world: it does not know {len(unknown)} words of this one, "
                         f"such as {', '.join(unknown[:3])}")
    language = Language(source, tokenizer, cfg.masking, cfg.max_length)
    loss = held_out_loss(model, language.held_out(cfg.held_out_documents, cfg.batch_size))
    gates = probe_gates(accuracies(model, language, source.probes(cfg.probe_count)))
    gates += rebuilt_gates(cfg, read_record(folder), loss)
    log_gates(gates)
    for function in cfg.gates:
        further = get_method(function)(cfg)
        log_gates(further)
        gates += further
    file = publish_gates(cfg, loss, gates)
    return {"model": cfg.model.name, "held_out_loss": loss, "failed": sum(not gate.passed for gate in gates),
            "file": str(file),
            "gates": [{"name": gate.name, "value": gate.value, "least": gate.least, "most": gate.most,
                       "strict": gate.strict, "passed": gate.passed} for gate in gates]}


def probe_gates(accuracy: dict[str, float]) -> list[Gate]:
    """The accuracy of each kind of probe beside its limit; a kind without a limit always passes."""
    return [Gate(kind, value, GATES.get(kind)) for kind, value in accuracy.items()]


def rebuilt_gates(cfg: DictConfig, shipped: PretrainRecord | None, loss: float) -> list[Gate]:
    """The loss of the model in `output` beside the shipped one's; none, and a line in the log, if it is no rebuild.

    A rebuild is of the same run: the same config and corpus.
    """
    folder = Path(cfg.output) / cfg.model.name
    rebuilt = read_record(folder)
    if rebuilt is None or shipped is None or rebuilt.run != shipped.run:
        log.info("no model of this config and corpus in %s: no rebuild is compared", folder)
        return []
    return [Gate("rebuilt held-out loss / shipped", rebuilt.held_out_loss / loss, 1 - REBUILT, 1 + REBUILT)]


def publish_gates(cfg: DictConfig, loss: float, gates: list[Gate]) -> Path:
    """Publish the gates, in tables/ beside their runs: as <model>, or as <model>-part if some gates were left out."""
    whole = list(cfg.gates) == list(OmegaConf.select(cfg, "model.pretraining.gates", default=[]))
    rows = [[gate.name, f"{gate.value:.3f}", gate.limits, verdict(gate)] for gate in gates]
    sheet = Sheet(f"{cfg.model.name}{'' if whole else '-part'}", f"{cfg.model.name}, held-out loss {loss:.3f}",
                  ["gate", "value", "asked", ""], rows,
                  notes=[f"python -m experiments.pretrain model={cfg.model.name} check=true"])
    (file,) = publish(sheet, store_folder(cfg) / "tables", ("md",))
    return file


def log_gates(gates: list[Gate]) -> None:
    """Log each gate on a line: the gates that follow train models, which may take an hour."""
    for gate in gates:
        log.info("%s %.3f, asked %s: %s", gate.name, gate.value, gate.limits, verdict(gate))


def verdict(gate: Gate) -> str:
    """pass or FAIL."""
    return "pass" if gate.passed else "FAIL"
