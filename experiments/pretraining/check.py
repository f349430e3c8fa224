"""The check of a shipped model: its files are what they were, and it knows what the gates ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from experiments.models.files import checked_folder
from experiments.models.load import load_tokenizer
from experiments.models.record import PretrainRecord, read_record
from experiments.pretraining.cloze import GATES, accuracies, held_out_loss
from experiments.pretraining.folder import load_language_model
from experiments.pretraining.gates import Gate
from experiments.pretraining.language import Language, Source
from experiments.store.files import write_atomic
from experiments.tables.text import console_for
from experiments.training.hardware import take_threads

REBUILT = 0.01  # by which share a rebuilt model's held-out loss may differ from the shipped one's


def check_shipped(cfg: DictConfig, source: Source) -> dict[str, Any]:
    """Measure the model at model.path again, print each group of gates when it is measured, and count the failed ones.

    Raises FileNotFoundError for a file that is missing, ValueError for one that was altered and for a model of a world
    with other words.
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
    print_gates(f"{cfg.model.name}: held-out loss {loss:.3f}", gates)
    for function in cfg.gates:
        further = get_method(function)(cfg)
        print_gates(f"{cfg.model.name}: {function.rpartition('.')[2]}", further)
        gates += further
    file = write_gates(cfg, loss, gates)
    return {"model": cfg.model.name, "held_out_loss": loss, "failed": sum(not gate.passed for gate in gates),
            "file": str(file),
            "gates": [{"name": gate.name, "value": gate.value, "least": gate.least, "most": gate.most,
                       "strict": gate.strict, "passed": gate.passed} for gate in gates]}


def probe_gates(found: dict[str, float]) -> list[Gate]:
    """The accuracy of each kind of probe beside what is asked of it; a kind without a gate always passes."""
    return [Gate(kind, value, GATES.get(kind)) for kind, value in found.items()]


def rebuilt_gates(cfg: DictConfig, shipped: PretrainRecord | None, loss: float) -> list[Gate]:
    """The loss of the model in `output` beside the shipped one's; none, and a line that says so, if it is no rebuild.

    A rebuild is of the same run: the same config and corpus.
    """
    folder = Path(cfg.output) / cfg.model.name
    rebuilt = read_record(folder)
    if rebuilt is None or shipped is None or rebuilt.run != shipped.run:
        print(f"no model of this config and corpus in {folder}: no rebuild is compared")
        return []
    return [Gate("rebuilt held-out loss / shipped", rebuilt.held_out_loss / loss, 1 - REBUILT, 1 + REBUILT)]


def write_gates(cfg: DictConfig, loss: float, gates: list[Gate]) -> Path:
    """Keep what was measured, in tables/ beside the gates' runs: <model>.md, or <model>-part.md of a part of them."""
    from experiments.pretraining.gates import store_folder
    from experiments.tables.text import markdown_rows

    whole = list(cfg.gates) == list(OmegaConf.select(cfg, "model.pretraining.gates", default=[]))
    rows = [[gate.name, f"{gate.value:.3f}", gate.limits, "pass" if gate.passed else "FAIL"] for gate in gates]
    table = markdown_rows(["gate", "value", "asked", ""], rows)
    command = f"python -m experiments.pretrain model={cfg.model.name} check=true"
    return write_atomic(store_folder(cfg) / "tables" / f"{cfg.model.name}{'' if whole else '-part'}.md",
                        f"{cfg.model.name} (`{command}`), held-out loss {loss:.3f}\n\n{table}\n")


def print_gates(title: str, gates: list[Gate]) -> None:
    """One line a gate: what it is, its value, its limits, whether it holds."""
    table = Table("gate", "value", "asked", "", title=title)
    for gate in gates:
        table.add_row(gate.name, f"{gate.value:.3f}", gate.limits, "pass" if gate.passed else "FAIL")
    console = console_for(table)
    console.print(table)
    console.file.flush()  # fine-tuning, which may take an hour, is yet to come
