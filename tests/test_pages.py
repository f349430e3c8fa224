"""The pages for people: their numbers equal the files they name, their commands compose, their links lead somewhere."""

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from hydra.types import RunMode

from experiments.config.overrides import CommandLine
from experiments.store.paths import CONF
from tests.pages import MARK, ROOT, marked_text, pages, rewritten

NAMES = [str(path.relative_to(ROOT)) for path in pages()]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
NUMBER = re.compile(r"(?<![\w.,/^-])[-−+]?\d(?:[\d,]*\d)?(?:\.\d+)?(?!\w|[.-]\w)")
# A number needs no mark where it is a place in the paper, a setting, a limit or a version.
REFERENCE = re.compile(
    r"\b(?:[Tt]ables?|[Ff]igures?|[Ss]ections?|[Ee]quations?|[Ll]ayers?|[Ss]eeds?|[Rr]anks?|[Aa]lpha|r =|Python|"
    r"at most) \d[\d.]*(?:(?:, | to | and | or )\d[\d.]*)*|φ\(\d+, \d+\)|et al\., \d{4}")
COMMAND = re.compile(r"(?:\S+=\S* )*(?:.*\bpython -m|torchrun .*-m|accelerate launch -m|lora-lab) +"
                     r"(?!completion)((?:experiments\.|analysis\.)?[a-z]\w*)(?= |$)(.*)")
PLUGINS = {"hydra/launcher=submitit_slurm", "hydra/launcher=ray", "hydra/sweeper=optuna"}  # extras, not installed here


def texts(page: str) -> tuple[str, str]:
    """A page's code (blocks and spans, one a line) and its prose (no code, mark, comment, heading or link target)."""
    code = [block[2] for block in BLOCK.finditer(page)]
    prose = BLOCK.sub("\n", page)
    code += [re.sub(r"\s+", " ", span) for span in re.findall(r"`([^`]+)`", prose)]
    for pattern in (r"`[^`]+`", MARK.pattern, r"<!--.*?-->", r"^#.*$", r"^\d+\. ", r"\]\([^)]*\)|<http[^>]*>"):
        prose = re.sub(pattern, " ", prose, flags=re.MULTILINE | re.DOTALL if "<!--" in pattern else re.MULTILINE)
    return "\n".join(code), prose


class Command(NamedTuple):
    """One command of this project as a page writes it."""

    door: str  # experiments.train, or a command of lora-lab
    words: list[str]


def commands(code: str) -> Iterator[Command]:
    """Every `python -m experiments.X ...`, `python -m analysis.X ...` and `lora-lab X ...` in lines of code."""
    for line in re.sub(r"\s*\\\n\s*", " ", code).splitlines():
        if match := COMMAND.match(line.strip()):
            yield Command(match[1], shlex.split(match[2], comments=True))


def config_of(door: str) -> str | None:
    """The config of a command by its module or its name in `lora-lab`; None where it is no door."""
    names = [door] if "." in door else [f"experiments.{door}", f"analysis.{door}"]
    files = [ROOT / f"{name.replace('.', '/')}.py" for name in names]
    entries = [re.search(r'@entry\(\s*"(\w+)"', file.read_text()) for file in files if file.is_file()]
    return entries[0][1] if entries and entries[0] else None


def overrides(words: list[str]) -> list[str]:
    """Hydra's words of a command, without PLUGINS and their keys.

    A placeholder `...` stands for a name; a config folder joins the search path.
    """
    if PLUGINS & set(words):
        words = [word for word in words if not re.match(r"hydra[./](launcher|sweeper)\b", word)]
    for flag, folder in pairwise([*words, ""]):
        if flag == "--config-dir":
            words = [*(word for word in words if word not in (flag, folder)), f"hydra.searchpath=[file://{folder}]"]
    return [word.replace("...", "name") for word in words if not re.match(r"--?\w", word)]


def composes(command: Command) -> None:
    """Compose the config of a command without running it; hydra raises where a group, choice or key is wrong."""
    config = config_of(command.door)
    assert config is not None, f"{command.door} is no command"
    line = CommandLine(config, CONF, overrides(command.words))
    line.loader.load_configuration(config, line.checked(), RunMode.MULTIRUN if "-m" in command.words else RunMode.RUN)


def typed_numbers(page: str) -> list[str]:
    """Numbers in prose that are neither marked nor references, with the words around them."""
    prose = REFERENCE.sub(" ", texts(page)[1])
    return [prose[max(match.start() - 30, 0) : match.end() + 20] for match in NUMBER.finditer(prose)]


@pytest.mark.parametrize("name", NAMES)
def test_every_marked_number_and_table_equals_its_file(name: str) -> None:
    for mark in MARK.finditer((ROOT / name).read_text()):
        assert mark["text"] == marked_text(mark["body"]), f"{name}: {mark['body']}: run `make pages`"


@pytest.mark.parametrize("name", NAMES)
def test_no_number_in_prose_is_typed_by_hand(name: str) -> None:
    """Digits outside code, headings and marks are references to the paper or settings."""
    typed = typed_numbers((ROOT / name).read_text())
    assert not typed, f"{name}: mark these numbers, or leave them to a command: {typed}"


@pytest.mark.parametrize("name", NAMES)
def test_no_line_begins_with_the_mark_of_a_number(name: str) -> None:
    """Markdown takes such a line for HTML and ends the paragraph before it."""
    assert not re.findall(r"^ *<!-- (?!table |/ )\S+.*", (ROOT / name).read_text(), re.MULTILINE)


@pytest.mark.parametrize("prose", ["LoRA has 89.2 on MRPC", "| lora | 89 |", "a gain of -3%", "about 1,024 rows"])
def test_a_typed_result_is_seen(prose: str) -> None:
    assert len(typed_numbers(f"Some text.\n{prose}\n")) == 1


@pytest.mark.parametrize("prose", ["Figures 3, 4 and 6 (section 7.2)", "GPT-3 at rank 8", "`seed=3`", "# 2 commands"])
def test_a_reference_or_a_setting_needs_no_mark(prose: str) -> None:
    assert not typed_numbers(f"Some text.\n{prose}\n")


def test_a_mark_takes_its_number_from_the_file_and_a_mark_without_a_row_is_named() -> None:
    mark = "results/nano/tables/table2.csv our_model=roberta-nano our_method=ft column={} {{ours:.1f}}"
    page = f"<!-- {mark.format('mnli')} -->99<!-- / -->"
    assert rewritten(page) == page.replace("99", "76.3")
    with pytest.raises(ValueError, match=r"column=mnly.*0 rows of table2\.csv fit"):
        marked_text(mark.format("mnly"))


@pytest.mark.parametrize("name", NAMES)
def test_every_command_on_a_page_composes(name: str, example: Path) -> None:
    page = (ROOT / name).read_text()
    for command in commands(texts(page)[0]):
        words = [str(example) if word == "mine" else word for word in command.words]
        try:
            composes(Command(command.door, words))
        except Exception as error:
            pytest.fail(f"{name}: {command.door} {' '.join(command.words)}: {error}")


@pytest.mark.parametrize("name", NAMES)
def test_every_link_and_every_path_in_code_leads_to_a_file(name: str) -> None:
    page = (ROOT / name).read_text()
    targets = [(ROOT / name).parent / link.partition("#")[0] for link in LINK.findall(page) if "://" not in link]
    spans = re.findall(r"`((?:analysis|conf|experiments|lora|results|tests)/[\w./+-]+)`", BLOCK.sub("", page))
    targets += [ROOT / span for span in spans if not span.startswith("results/local")]
    assert not [str(target) for target in targets if not target.exists()]


def test_the_front_page_is_read_in_five_minutes() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_every_make_target_on_a_page_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for name in NAMES:
        for target in re.findall(r"(?:^|`)make (\w+)", (ROOT / name).read_text(), re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{name}: make {target}"


def test_the_rooms_on_the_page_are_those_of_the_import_rules() -> None:
    """experiments/README.md lists ROOMS of tests/test_rooms.py, in their order."""
    rules = ast.parse((ROOT / "tests/test_rooms.py").read_text())
    rooms = next(node.value for node in rules.body if ast.unparse(node).startswith("ROOMS = "))  # type: ignore[attr-defined]
    listed = (ROOT / "experiments/README.md").read_text().partition("## Rooms")[2].partition("\n## ")[0]
    assert tuple(re.findall(r"^\| `([\w.]+)` \|", listed, re.MULTILINE)) == ast.literal_eval(rooms)


# The example of conf/README.md: blocks of code that begin with the name of a file, `# mine/task/reviews.yaml`.
@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `mine` that conf/README.md writes, file by file."""
    folder = tmp_path_factory.mktemp("example")
    for _, block in BLOCK.findall((ROOT / "conf/README.md").read_text()):
        if match := re.match(r"# (mine/\S+)", block):
            (folder / match[1]).parent.mkdir(parents=True, exist_ok=True)
            (folder / match[1]).write_text(block)
    return folder / "mine"


@pytest.mark.parametrize("door", ["train", "paper"])
def test_the_example_of_configs_of_ones_own_runs(door: str, example: Path) -> None:
    """The page's commands, from a folder outside the repository: a model, task and method that train two steps; a suite
    and an artifact whose table is printed."""
    rows = "".join(f"{word} film,{label}\n" for word, label in [("good", "yes"), ("bad", "no")] * 8)
    (example.parent / "reviews.csv").write_text(f"text,label\n{rows}")
    code, _ = texts((ROOT / "conf/README.md").read_text())
    words = [*next(words for name, words in commands(code) if name == door and "--config-dir" in words),
             "logger.wandb.mode=disabled"]
    if door == "train":
        words += ["trainer.epochs=1", "trainer.batch_size=8", "trainer.device=cpu", "trainer.threads=1"]
    ended = subprocess.run([sys.executable, "-m", f"experiments.{door}", *words], cwd=example.parent,
                           env={**os.environ, "PYTHONPATH": f"{ROOT}:{example}"},
                           capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert {"train": '"status": "done"', "paper": '"cells": '}[door] in ended.stdout
