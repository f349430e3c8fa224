"""Hyperparameters by model, method and task: the tables of conf/presets, read by `${preset:key,default}`.

A preset is a CSV file with one row for each setting. A row is found by its model, method and task (`*` stands for any
that has no row of its own; a method may be a pattern, as ft_top*), in some files also by rank (method.rank or
method.bottleneck where the command line gives one; an empty cell stands for any without a row of its own). Then come
its source and config keys.

`default` gives each method a learning rate of its own and no more; `paper` and `restricted` (its dagger rows) are the
paper's tables as printed, `authors` what the released scripts do: there `trainer.batch_size` is the batch of one GPU
times their GPUs. An empty cell was not stated and leaves the default; `null` was stated as none.
"""

import csv
import functools
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.config.search_path import search_path
from experiments.store.files import write_atomic
from experiments.store.paths import CONF
from lora.errors import check_choice

FOLDER = CONF / "presets"
COLUMNS = ("model", "method", "task", "rank")  # the key of a row; not every file has a rank
SIZES = ("rank", "bottleneck")  # keys of a method whose value the column rank holds
UNSET = object()  # told apart from None, which is a value
_rows_at_hand: dict[int, dict[str, Any] | None] = {}  # by the id of a config, within one_row


def presets() -> list[str]:
    """The names of the presets."""
    return sorted(_files())


def _files() -> dict[str, Path]:
    folders = [FOLDER, *(folder / "presets" for folder in search_path())]
    return {path.stem: path for folder in folders for path in folder.glob("*.csv")}


def _rows(preset: str) -> dict[tuple[str, ...], dict[str, str]]:
    """The rows of a preset by their key; ValueError names an unknown preset."""
    check_choice("preset", preset, files := _files())
    stat = files[preset].stat()
    return _read(files[preset], (stat.st_mtime_ns, stat.st_ino))


@functools.cache  # a config asks for its preset's row at every key
def _read(path: Path, version: tuple[int, int]) -> dict[tuple[str, ...], dict[str, str]]:
    with path.open(newline="") as file:
        return {_key(row): row for row in csv.DictReader(file)}


def _key(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row.get(column, "") for column in COLUMNS)


def find_row(preset: str, model: str, method: str, task: str, rank: str = "") -> dict[str, str]:
    """The row of `preset` for this model, method, task and rank, as written; the special before the general.

    Raises ValueError where there is none, naming the rows nearest to it.
    """
    rows = _rows(preset)
    patterns = sorted({key[1] for key in rows if key[1] not in (method, "*") and fnmatchcase(method, key[1])})
    likely = [*product((model,), (method, *patterns), (task, "*")), *product(("*",), (method, *patterns), (task, "*")),
              ("*", "*", "*")]
    row = next((rows[*key, size] for key in likely for size in (rank, "") if (*key, size) in rows), None)
    if row is None:
        shared = {key: sum(map(str.__eq__, key[:3], (model, method, task))) for key in rows}
        near = [" ".join(key).strip() for key in sorted(rows, key=lambda key: (-shared[key], key)) if shared[key]][:8]
        raise ValueError(
            f"preset {preset!r} has no row for model {model!r}, method {method!r}, task {task!r}; "
            f"nearest: {', '.join(near) or 'none'}"
        )
    return dict(row)


def values(row: dict[str, str]) -> dict[str, Any]:
    """The values that a row states, by config key."""
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
    """Write rows into a preset's file, each in place of the row with the same key, or at the end.

    Every other line stays byte for byte.
    """
    path = _files().get(preset, FOLDER / f"{preset}.csv")
    text = path.read_bytes().decode()
    header, *lines = (text if text.endswith("\n") else f"{text}\n").splitlines(keepends=True)
    columns = next(csv.reader([header]))

    def line(row: dict[str, str]) -> str:
        out = io.StringIO()
        csv.DictWriter(out, columns, lineterminator="\r\n" if header.endswith("\r\n") else "\n").writerow(row)
        return out.getvalue()

    new = {_key(row): line(row) for row in rows}
    old_rows = [dict(zip(columns, next(csv.reader([old])), strict=False)) for old in lines]
    kept = [new.pop(_key(row), old) for row, old in zip(old_rows, lines, strict=True)]
    return write_atomic(path, "".join([header, *kept, *new.values()]))


@contextmanager
def one_row(cfg: DictConfig) -> Iterator[None]:
    """Within this, `cfg` does not change, and its row is looked up once and not for each key."""
    row = preset_row(cfg)
    _rows_at_hand[id(cfg)] = row
    try:
        yield
    finally:
        del _rows_at_hand[id(cfg)]


def preset_row(cfg: DictConfig) -> dict[str, Any] | None:
    """Name, source and values of the row that `cfg`, the whole config, uses; None without a preset."""
    if id(cfg) in _rows_at_hand:
        return _rows_at_hand[id(cfg)]
    if (name := OmegaConf.select(cfg, "preset")) is None:
        return None
    # of the keys: `"rank" in cfg.method` would look at its value, and so ask the preset again
    given = [key for key in cfg.method.keys() if not OmegaConf.is_interpolation(cfg.method, key)]  # noqa: SIM118
    size = size_of({key: cfg.method[key] for key in given if key in SIZES})
    return named_row(name, cfg.model.name, cfg.method.name, cfg.task.name, size)


def named_row(name: str, model: str, method: str, task: str, size: str) -> dict[str, Any]:
    """Name, source and values of a preset's row; see find_row."""
    row = find_row(name, model, method, task, size)
    return {"name": name, "source": row["source"], "values": values(row)}


def size_of(given: Mapping[str, Any]) -> str:
    """method.rank or method.bottleneck among the keys that are given, for which a preset may have a row, or ''."""
    return next((str(value) for key, value in given.items() if key in SIZES), "")


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
    """The settings in which the paper and its released scripts differ for this config's run, as one line.

    None where they agree, or where the config uses neither of the two presets.
    """
    if cfg.preset not in ("paper", "authors"):
        return None
    try:
        differing = diff(cfg.model.name, cfg.method.name, cfg.task.name)
    except ValueError:  # one of them has no row
        return None
    words = [(key, *("not stated" if value is None else value for value in pair)) for key, *pair in differing]
    parts = [f"{key} {paper} | {authors}" for key, paper, authors in words]
    return "; ".join(parts) or None
