"""Hyperparameters by model, method and task: the tables of conf/presets, read by `${preset:key,default}`.

A preset is a CSV file, one row a setting: model, method, task (`*`: any without a row of its own; of a method also a
pattern, as ft_top*), in some files rank
(of method.rank, or method.bottleneck, where the command line gives one; empty: any without a row of its own), source,
then config keys.
`default` gives each method a learning rate of its own and no more; `paper` and `restricted` (its dagger rows) are the
paper's tables as printed, `authors` what the released scripts do: there `trainer.batch_size` is the batch of one GPU
times their GPUs. An empty cell was not stated and leaves the default; `null` was stated as none.
"""

import csv
import functools
import io
from decimal import Decimal
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.store.files import write_atomic
from experiments.store.paths import CONF
from lora.errors import check_choice

FOLDER = CONF / "presets"
COLUMNS = ("model", "method", "task", "rank")  # what a row is found by; not every file has a rank
SIZES = ("rank", "bottleneck")  # of a method: what the column rank is about
UNSET = object()  # told apart from None, which is a value


def presets() -> list[str]:
    """The names of the presets."""
    return sorted(path.stem for path in FOLDER.glob("*.csv"))


def find_row(preset: str, model: str, method: str, task: str, rank: str = "") -> dict[str, str]:
    """The row of `preset` for this model, method, task and rank, as written; the special before the general.

    Raises ValueError where there is none, naming the rows nearest to it.
    """
    check_choice("preset", preset, presets())
    path = FOLDER / f"{preset}.csv"
    status = path.stat()
    rows = _rows(path, status.st_size, status.st_mtime_ns)
    patterns = sorted({key[1] for key in rows if key[1] not in (method, "*") and fnmatchcase(method, key[1])})
    likely = [*product((model,), (method, *patterns), (task, "*")), *product(("*",), (method, *patterns), (task, "*")),
              ("*", "*", "*")]
    row = next((rows[*key, own] for key in likely for own in (rank, "") if (*key, own) in rows), None)
    if row is None:
        shared = {key: sum(map(str.__eq__, key[:3], (model, method, task))) for key in rows}
        near = [" ".join(key).strip() for key in sorted(rows, key=lambda key: (-shared[key], key)) if shared[key]][:8]
        raise ValueError(
            f"preset {preset!r} has no row for model {model!r}, method {method!r}, task {task!r}; "
            f"nearest: {', '.join(near) or 'none'}"
        )
    return row


@functools.cache
def _rows(path: Path, size: int, mtime: int) -> dict[tuple[str, ...], dict[str, str]]:
    """The rows of a preset's file by COLUMNS; a file is read once in a process, unless its size or time changes."""
    with path.open(newline="") as file:
        return {tuple(row.get(column, "") for column in COLUMNS): row for row in csv.DictReader(file)}


def values(row: dict[str, str]) -> dict[str, Any]:
    """What a row states, by config key."""
    return {key: parse(cell) for key, cell in row.items() if key not in (*COLUMNS, "source") and cell}


def parse(cell: str) -> int | float | str | None:
    """The number in a cell, None for `null`, else the text. YAML would take 5e-4 for a text."""
    if cell == "null":
        return None
    for number in (int, float):
        try:
            return number(cell)
        except ValueError:
            pass
    return cell


def written(number: float) -> str:
    """A number as a preset's cell and a command line have it, exactly: 2e-3."""
    return f"{Decimal(repr(number)).normalize():e}"


def put_rows(preset: str, rows: list[dict[str, str]]) -> Path:
    """Write rows into a preset's file, each in the place of the one that is found by the same words, or at the end.

    Every other line stays byte for byte.
    """
    path = FOLDER / f"{preset}.csv"
    text = path.read_bytes().decode()
    header, *lines = (text if text.endswith("\n") else f"{text}\n").splitlines(keepends=True)
    columns = next(csv.reader([header]))

    def line(row: dict[str, str]) -> str:
        out = io.StringIO()
        csv.DictWriter(out, columns, lineterminator="\r\n" if header.endswith("\r\n") else "\n").writerow(row)
        return out.getvalue()

    new = {tuple(row.get(column, "") for column in COLUMNS): line(row) for row in rows}
    found = [dict(zip(columns, next(csv.reader([old])), strict=False)) for old in lines]
    kept = [new.pop(tuple(row.get(column, "") for column in COLUMNS), old)
            for row, old in zip(found, lines, strict=True)]
    return write_atomic(path, "".join([header, *kept, *new.values()]))


def preset_row(cfg: DictConfig) -> dict[str, Any] | None:
    """Name, source and values of the row that `cfg`, the whole config, uses; None without a preset."""
    if (name := OmegaConf.select(cfg, "preset")) is None:
        return None
    row = find_row(name, cfg.model.name, cfg.method.name, cfg.task.name, _given_rank(cfg.method))
    return {"name": name, "source": row["source"], "values": values(row)}


def _given_rank(method: DictConfig) -> str:
    """method.rank or method.bottleneck where the command line gives one, which a preset may have a row for, or ''."""
    # of the keys: `"rank" in method` would look at its value, and so ask the preset again
    given = [key for key in method.keys() if key in SIZES and not OmegaConf.is_interpolation(method, key)]  # noqa: SIM118
    return str(method[given[0]]) if given else ""


def resolve(key: str, default: Any = UNSET, *, _root_: DictConfig) -> Any:
    """`${preset:key,default}`: the preset's value for `key`, or `default` where it states none.

    Raises ValueError where the config names a preset without a row for it, or no default stands in.
    """
    row = preset_row(_root_)
    value = row["values"].get(key, default) if row else default
    if value is UNSET:
        stated = (
            f"preset {row['name']!r} ({row['source']}) states {', '.join(row['values'])}"
            if row
            else "preset is null"
        )
        raise ValueError(f"no value for {key}, which has no default: {stated}")
    return value


def diff(model: str, method: str, task: str) -> list[tuple[str, Any, Any]]:
    """(key, paper, authors) for every key where paper and scripts differ; None where one states nothing."""
    paper = values(find_row("paper", model, method, task))
    authors = values(find_row("authors", model, method, task))
    keys = [*paper, *(key for key in authors if key not in paper)]
    return [(key, paper.get(key), authors.get(key)) for key in keys if paper.get(key) != authors.get(key)]


def differences(cfg: DictConfig) -> str | None:
    """Where the paper and its released scripts differ for this config's run, one line; None where they don't.

    Asked only of a config that uses one of the two.
    """
    if cfg.preset not in ("paper", "authors"):
        return None
    try:
        found = diff(cfg.model.name, cfg.method.name, cfg.task.name)
    except ValueError:  # one of them has no row
        return None
    words = [(key, *("not stated" if value is None else value for value in pair)) for key, *pair in found]
    parts = [f"{key} {paper} | {authors}" for key, paper, authors in words]
    return "; ".join(parts) or None
