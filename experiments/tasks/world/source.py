"""The micro-world as a source of data sets: the splits of each task, with the columns of the hub's data set."""

import functools
import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.store.files import cached
from experiments.tasks.data import TextTable
from experiments.tasks.world import glue, texts
from experiments.tasks.world.speaker import Speaker, attempt
from experiments.tasks.world.world import PARTS, World, whole
from lora.errors import check_choice

Row = dict[str, Any]
ROWS = glue.ROWS | texts.ROWS
GENRES = ("mnli_mismatched", "webnlg_test")  # rows of a split of their own
NUMBERED = dict.fromkeys(glue.ROWS, "idx") | {"webnlg": "eid", "samsum": "id"}  # the hub's column that counts rows
SHOWN = 100  # rows of each split that are hashed into an identity
PATIENCE = 10_000  # rows rejected in a row before a world counts as too small for a task


@dataclass(frozen=True, kw_only=True)
class WorldSource:
    """Rows of one data set of a world; `rows` says how many each split has.

    The splits train and development use the parts of the world's words of those names, all others the validation part.
    No row occurs twice, and development has no sentence of a validation split.
    """

    name: str
    world: World
    rows: dict[str, int]

    def __post_init__(self) -> None:
        check_choice("task.source.name", self.name, [name for name in ROWS if name not in GENRES])
        for split, count in self.rows.items():
            if not whole(count) or count < 1:
                raise ValueError(f"task.source.rows.{split} {count!r} is not a whole number from 1")

    def load(self, split: str) -> TextTable:
        """All rows of a split."""
        check_choice(f"split of {self.name}", split, self.rows)
        rows = self._first(split, self.rows[split])
        columns = {column: [row[column] for row in rows] for column in rows[0]}
        if self.name in NUMBERED:
            columns[NUMBERED[self.name]] = list(range(len(rows)))
        return TextTable(f"world {self.world.seed}, {self.name}, {split}", columns)

    def has(self, split: str) -> bool:
        """True where the data set has this split."""
        return split in self.rows

    def identity(self, splits: list[str]) -> dict[str, Any]:
        """The world, and the sha256 of the first rows of each split: another grammar gives others.

        The digest is kept in the user's cache by all that it follows from, the code of the world among it.
        """
        rows = {split: self.rows[split] for split in splits}

        def digest() -> str:
            shown = {split: self._first(split, min(SHOWN, self.rows[split])) for split in splits}
            return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()

        given = json.dumps([code(), sys.version_info[:2], asdict(self), splits], sort_keys=True)
        return asdict(self) | {"rows": rows, "sha256": cached("world", given, digest)}

    def _first(self, split: str, count: int) -> tuple[Row, ...]:
        reported = self.rows.keys() - {"train", "development"} if split == "development" else ()
        taken = {text for other in reported for row in self._first(other, self.rows[other])
                 for text in sentences_of(row)}
        return _rows(self.world, self.name, split, count, frozenset(taken))


@functools.cache
def code() -> str:
    """sha256 of the code that makes a world's rows."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


@functools.lru_cache(maxsize=128)
def _rows(world: World, name: str, split: str, count: int, taken: frozenset[str] = frozenset()) -> tuple[Row, ...]:
    """The first `count` rows of a split, labels drawn at random, without the sentences `taken`."""
    make, labels = ROWS.get(f"{name}_{split.rpartition('_')[2]}", ROWS[name])
    speaker = Speaker(world, world.dice(f"{name} {split}"), split if split in PARTS else "validation")
    rows: dict[str, Row] = {}
    while len(rows) < count:
        label = speaker.dice.number(0, labels - 1)
        for _ in range(PATIENCE):
            row = attempt(make, speaker, label)
            if row is None or (key := json.dumps(row)) in rows:
                continue
            sentences = sentences_of(row)
            if taken.isdisjoint(sentences) and all(map(speaker.may_say, sentences)):
                rows[key] = row
                break
        else:
            given = ", ".join(f"{key}={value}" for key, value in asdict(world).items())
            raise ValueError(f"the world has too few words for {count} rows of {name} ({split}): {len(rows)} differ; "
                             f"give more of world.entities, world.classes or world.people, another world.seed or fewer "
                             f"rows (it has {given})")
    return tuple(rows.values())


def sentences_of(row: Row) -> list[str]:
    """The sentences of a row: those that may occur neither in the corpus nor in other splits."""
    columns = ("sentence", "sentence1", "sentence2", "premise", "hypothesis", "question", "question1", "question2",
               "human_reference", "summary")
    sentences = [row[column] for column in columns if column in row]
    return sentences + [text for column in ("lex", "annotations") for text in row.get(column, {}).get("text", [])]
