"""Lines of tables over seeds: which runs are one line, what tells lines apart, and what is told of runs that are one.

Runs of one line have one setting (all of the identity but the seed: files, data and code by content) and ran in one
precision. Versions of libraries and the device are in no identity; a note names those that differ within a line.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.runs.identity import NOT_IDENTITY
from experiments.store.store import RunRecord

NAMES = ("task.name", "model.name", "method.name")
METRIC = "task.main_metric"  # what the score is: always a column
NEVER = re.compile(rf"trainer\.({'|'.join(NOT_IDENTITY)})|model\.(attention|preset|pinned|pretraining\..*)"
                   r"|task\._convert_")
# keys that name files, or follow from a name: columns where nothing else tells two lines apart
PLACES = re.compile(r"model\.(path|package|revision|checksum|config(\..*)?)|task\.(files|source)\..*|.*\._target_")


def lines_of(records: Iterable[RunRecord]) -> list[list[RunRecord]]:
    """The runs of each line, in the order of their first."""
    records = list(records)
    ran = {record.setting: record.precision for record in records if record.precision}
    lines: dict[tuple[str, str], list[RunRecord]] = {}
    for record in records:
        # a run that failed early has no precision, and is counted beside one of its setting that has
        precision = record.precision or ran.get(record.setting, "")
        lines.setdefault((record.setting or record.run, precision), []).append(record)
    return list(lines.values())


def settings_of(lines: Sequence[Sequence[RunRecord]]) -> pd.DataFrame:
    """A row for each line: task, model and method, whatever tells lines apart as config keys, and the metric."""
    words = pd.DataFrame([_words(line) for line in lines], dtype=object)
    # an option that came after a run is off in it, as identities have it
    off = (words == "false").groupby(words["method.name"]).transform("any")
    words = words.mask(words.isna() & off, "false").fillna("-")
    keys = [str(key) for key in words if key not in (*NAMES, METRIC, "identity")]
    shown = [key for key in keys if not PLACES.fullmatch(key) and _differs(words, key)]
    for key in [*filter(PLACES.fullmatch, keys), "identity"]:
        alike = words[words.duplicated([*NAMES, *shown, METRIC], keep=False)]
        if not alike.empty and (alike.groupby([*NAMES, *shown, METRIC])[key].nunique() > 1).any():
            shown.append(key)
    chosen = words.reindex(columns=[*NAMES, *shown, METRIC]).fillna("-")
    return chosen.rename(columns=dict(zip(chosen.columns, _short(list(chosen.columns)), strict=True)))


def pooled_notes(lines: Iterable[Sequence[RunRecord]], with_device: bool) -> list[str]:
    """A note for each fact outside the identity in which runs of one line differ.

    These are the precision that ran, the versions of libraries, and the device, which matters to costs.
    """
    differing: dict[str, list[set[str]]] = {}
    for line in lines:
        facts = [{"precision": record.precision, "device": record.device if with_device else ""} | record.versions
                 for record in line if record.finished_well]
        for key in dict.fromkeys(key for of_run in facts for key in of_run):
            if len(values := {of_run.get(key, "") for of_run in facts} - {""}) > 1:
                differing.setdefault(key, []).append(values)
    return [f"{len(of_lines)} {'lines have' if len(of_lines) > 1 else 'line has'} runs of more than one {key}: "
            f"{' | '.join(sorted(set.union(*of_lines)))}" for key, of_lines in differing.items()]


def _differs(words: pd.DataFrame, key: str) -> bool:
    """True where lines of one task, model or method differ in this key of it; of one method in one of the trainer."""
    group = key.partition(".")[0]
    by = f"{group}.name" if group in ("task", "model") else "method.name"
    return bool((words.groupby(by)[key].nunique() > 1).any())


def _words(line: Sequence[RunRecord]) -> dict[str, Any]:
    """The settings of a line as words, those of its first run that has them: no seed, path, logging or hardware."""
    flat: dict[str, Any] = dict.fromkeys((*NAMES, METRIC))
    for record in reversed(line):
        flat |= {key: word for group in ("task", "model", "method", "trainer")
                 for key, word in _flat(record.config.get(group, {}), f"{group}.")
                 if word is not None and not NEVER.fullmatch(key)}
    source = line[0].config.get("init_from")
    start = None if source is None else re.sub(r"-seed\d+-[0-9a-f]{8}(\.json)?$", "", Path(source).name)
    ran = next((record.precision for record in line if record.precision), None)
    return flat | {"init_from": start, "ran": ran, "identity": line[0].setting[:8]}


def _flat(value: Any, key: str) -> list[tuple[str, str | None]]:
    """The leaves of a config by key, as words."""
    if isinstance(value, dict):
        return [leaf for name, item in value.items() for leaf in _flat(item, f"{key}{name}.")]
    return [(key.removesuffix("."), _word(value))]


def _word(value: Any) -> str | None:
    """A setting as text, of one spelling for each value: 1024, 0.0005, true, q,v; None stays."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.12g}" if isinstance(value, float) else value if value is None else str(value)


def _short(keys: list[str]) -> list[str]:
    """Names of columns: the last word of a name and of a key of method or trainer, if no other column has it."""
    short = [key.removesuffix(".name") if key in NAMES else key.rpartition(".")[2]
             if key == METRIC or key.startswith(("method.", "trainer.")) else key for key in keys]
    return [key if short.count(word) > 1 else word for key, word in zip(keys, short, strict=True)]
