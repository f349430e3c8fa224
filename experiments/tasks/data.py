"""Rows of text from the hub at a pinned revision, from a local mirror of it, or from the user's own files.

A source names the files of each split; its `load` reads them into a `TextTable`. A mirror is a folder in
the hub's layout, LORA_LAB_HUB/nyu-mll/glue/mrpc/train-00000-of-00001.parquet; where it is set it is the
only place looked in.
"""

import csv
import json
import logging
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from experiments.store.files import sha256
from lora.errors import check_choice, nearest

# sha256 of the files from which results/minilm was trained: their revision alone stands for them
KNOWN_FILES = {
    "nyu-mll/glue/mrpc/train": "37d74b1ed70d2a8914a72f6d465664c7295f74d648eb0c6561a5c139c24d95aa",
    "nyu-mll/glue/mrpc/validation": "bed65d6ae3acff1983284f59110488510a3a1a4ba64513b26d7118f83e36842c",
    "nyu-mll/glue/rte/train": "1ec462c5302c2fbc3abb4f4b872a025c75d5759c47a498bd65b571be70400a18",
    "nyu-mll/glue/rte/validation": "2587d1124653edb2375f3e846117b07c45a133501d25bc97aec7defb5af34e0e",
}
log = logging.getLogger(__name__)
LONGEST_CELL = 2**31 - 1  # letters; csv's own limit of 131,072 is below a book's chapter, and texts are cut later
AN_OBJECT_A_LINE = re.compile(r"\s*\{[^\n]*\}\s*\n\s*\{")  # one that ends with its line, and the start of the next


@dataclass(frozen=True)
class TextTable:
    """Rows by column; `source` says where they come from, for messages."""

    source: str
    columns: dict[str, list[Any]]  # equally long

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def __getitem__(self, column: str) -> list[Any]:
        """The values of one column; ValueError names the columns that there are."""
        check_choice(f"{self.source}: column", column, self.columns)
        return self.columns[column]

    def select(self, rows: list[int]) -> "TextTable":
        """The rows at these indices, in this order."""
        columns = {name: [values[row] for row in rows] for name, values in self.columns.items()}
        return TextTable(self.source, columns)


class Source(Protocol):
    """The origin of a task's rows."""

    def load(self, split: str) -> TextTable:
        """All rows of a split, as they are stored."""

    def identity(self, splits: list[str]) -> dict[str, Any]:
        """The part of a run's identity that stands for the rows of these splits."""

    def has(self, split: str) -> bool:
        """True if there is such a split."""


class Files(ABC):
    """A source whose splits are files."""

    @abstractmethod
    def paths(self, split: str) -> list[Path]:
        """The files of a split."""

    def load(self, split: str) -> TextTable:
        """All rows of a split; ValueError where a file cannot be read or there is no row."""
        paths = self.paths(split)
        parts = [READERS[path.suffix](path) for path in paths]
        for path, part in zip(paths, parts, strict=True):
            if part.keys() != parts[0].keys():
                raise ValueError(f"{path} has the columns {', '.join(part)}, {paths[0].name} has {', '.join(parts[0])}")
        columns = {name: [value for part in parts for value in part[name]] for name in parts[0]}
        table = TextTable(str(paths[0]), columns)
        if len(table) == 0:
            raise ValueError(f"{table.source}: split {split!r} has no rows")
        return table


@dataclass(frozen=True, kw_only=True)
class HubSource(Files):
    """A data set of the hub: <name> at <revision>, files <config>/<split>-*.parquet.

    `revision` is a commit, or null where none is known to have these files: then only a mirror is read.
    """

    name: str
    config: str
    revision: str | None

    def paths(self, split: str) -> list[Path]:
        """The parquet files of a split; FileNotFoundError says where they were looked for."""
        mirror = os.environ.get("LORA_LAB_HUB")
        root = Path(mirror) / self.name if mirror else self._download(f"{self.config}/{split}-*.parquet")
        paths = sorted((root / self.config).glob(f"{split}-*.parquet"))
        if not paths:
            splits = sorted({path.name.split("-")[0] for path in (root / self.config).glob("*.parquet")})
            place = f"LORA_LAB_HUB={mirror}" if mirror else f"{self.name} at revision {self.revision}"
            raise FileNotFoundError(
                f"no {root / self.config / split}-*.parquet in {place}; "
                f"splits there: {', '.join(splits) or 'none'}{nearest(split, splits)}"
            )
        return paths

    def has(self, split: str) -> bool:
        """False for development rows, which are not published apart but held out of the training rows."""
        return split != "development"

    def identity(self, splits: list[str]) -> dict[str, Any]:
        """Name and revision, with the sha256 of each file of a mirror or without a revision: these may be any rows."""
        if self.revision is not None and not os.environ.get("LORA_LAB_HUB"):
            return asdict(self)
        files = {split: self._digests(split) for split in splits}
        unknown = {split: digests for split, digests in files.items() if digests}
        return asdict(self) | ({"files": unknown} if unknown else {})

    def _digests(self, split: str) -> list[str]:
        """sha256 of each file of a split; empty where a revision stands for them, or they are not here."""
        try:
            digests = [sha256(path) for path in self.paths(split)]
        except FileNotFoundError:
            if self.revision is None:
                raise
            return []
        known = KNOWN_FILES.get(f"{self.name}/{self.config}/{split}")
        return [] if self.revision is not None and digests == [known] else digests

    def _download(self, pattern: str) -> Path:
        """Folder of the hub's own cache that holds the files of `pattern`, downloaded if it lacks them."""
        from huggingface_hub import snapshot_download

        if self.revision is None:
            raise FileNotFoundError(
                f"{self.name} has no pinned revision: set LORA_LAB_HUB to a folder that holds {self.name}/{pattern}, "
                "or task.source.revision to a commit of the hub's repository that has it"
            )
        log.info("looking for data set %s (%s) on the hub", self.name, pattern)
        try:
            folder = snapshot_download(
                self.name, repo_type="dataset", revision=self.revision, allow_patterns=[pattern]
            )
        except OSError as error:
            raise FileNotFoundError(
                f"cannot get {self.name} ({pattern}) at revision {self.revision} from the hub: "
                f"{str(error).splitlines()[0]} Without a connection, set LORA_LAB_HUB to a folder "
                f"that holds {self.name}/{pattern}"
            ) from error
        return Path(folder)


@dataclass(frozen=True, kw_only=True)
class FileSource(Files):
    """The user's own files, one a split: .csv, .tsv, .json (a list of objects, or one a line), .jsonl or .parquet."""

    files: dict[str, str | None]

    def paths(self, split: str) -> list[Path]:
        """The one file of a split; an error names the missing key, file or unknown extension."""
        check_choice("split", split, self.files)
        file = self.files[split]
        if file is None:
            held_out = "" if split == "train" else ", or task.evaluate_on=development for a tenth of the training file"
            raise ValueError(f"task.files.{split} is not set: give a {', '.join(READERS)} file{held_out}")
        path = Path(file).expanduser()
        check_choice(f"extension of {path}", path.suffix, READERS)
        if not path.is_file():
            siblings = [other.name for other in path.parent.glob("*")]
            raise FileNotFoundError(f"no file {path} (split {split!r}){nearest(path.name, siblings)}")
        return [path]

    def has(self, split: str) -> bool:
        """True if a file is given for a split."""
        return self.files.get(split) is not None

    def identity(self, splits: list[str]) -> dict[str, Any]:
        """sha256 of the file of each split that has one."""
        return {split: sha256(self.paths(split)[0]) for split in splits if self.has(split)}


def _read_parquet(path: Path) -> dict[str, list[Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:  # read_table would add columns that folders are named for
            _check_once(path, file.schema_arrow.names)
            table = file.read()
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(
            f"{path} is not a whole parquet file (truncated?): {str(error).splitlines()[0]}"
        ) from error
    return {name: table[name].to_pylist() for name in table.column_names}


def _read_csv(path: Path, delimiter: str = ",") -> dict[str, list[Any]]:
    csv.field_size_limit(LONGEST_CELL)
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, delimiter=delimiter, strict=True)
        try:
            rows, names = list(reader), reader.fieldnames or []
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}, after line {reader.line_num}: not UTF-8 CSV: {error}") from error
    _check_once(path, [name for name in names if name])  # columns without a name are none that a task can ask for
    for index, row in enumerate(rows):
        if None in row:
            raise ValueError(f"{path}, row {index}: more cells than the header's {len(names)} columns")
    return {name: [row[name] for row in rows] for name in names}


def _check_once(path: Path, names: list[str]) -> None:
    """ValueError for a name that two columns, or two values of a JSON object, have: which one is meant is not known."""
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"{path} has {', '.join(map(repr, twice))} twice: rename one, or leave it out")


def _read_json(path: Path) -> dict[str, list[Any]]:
    """A list of objects, or an object a line whatever the file is called: both are written under both extensions."""
    text = _text(path)
    if (path.suffix == ".jsonl" and not text.lstrip().startswith("[")) or AN_OBJECT_A_LINE.match(text):
        lines = enumerate(text.split("\n"), start=1)
        return _columns(path, [_parse(path, line, f"line {number}") for number, line in lines if line.strip()])
    return _columns(path, _parse(path, text, "file"))


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from error


def _parse(path: Path, text: str, place: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _check_once(path, [name for name, _ in pairs])
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: {place} is not JSON (truncated?): {error}") from error


def _columns(path: Path, rows: Any) -> dict[str, list[Any]]:
    """Columns of a list of objects; what a row lacks is None."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path} must hold a list of JSON objects, one a row")
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


READERS: dict[str, Callable[[Path], dict[str, list[Any]]]] = {
    ".csv": _read_csv,
    ".tsv": partial(_read_csv, delimiter="\t"),
    ".json": _read_json,
    ".jsonl": _read_json,
    ".parquet": _read_parquet,
}
