"""The house: doors and rooms, who may import whom (experiments/README.md draws the same)."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ["lora", *(f"analysis.{room}" for room in ("linalg", "adapters", "figures", "studies", "page")),
         *(f"experiments.{room}" for room in (
             "store", "config", "metrics", "tables", "models", "tasks", "training", "runs", "sweeps", "measure",
             "pretraining", "artifacts"))]
FOREIGN = ("hydra", "omegaconf", "wandb", "experiments")  # what analysis does not know below its doors
MOST_LINES = 60  # of a door


@dataclass(frozen=True)
class Import:
    """One import of a file: what, and whether it is inside a function."""

    module: str
    line: int
    inside: bool


def files() -> list[Path]:
    return sorted(path for top in ("lora", "analysis", "experiments") for path in (ROOT / top).rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in files()}


def imports(path: Path) -> Iterator[Import]:
    """Every import of a file, type-only ones too; `from package import module` is the module."""
    tree = ast.parse(path.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            joined = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else str(node.module) for name in joined]
        else:
            continue
        for name in names:
            yield Import(name, node.lineno, id(node) in inside)


def is_door(module: str) -> bool:
    """A file of experiments/ or analysis/ itself."""
    return module.count(".") == 1 and module.split(".")[0] in ("analysis", "experiments") and module not in ROOMS


def room_of(module: str) -> str | None:
    """The room of a module, the longest name that fits; None for a door and for another package."""
    found = [room for room in ROOMS if module == room or module.startswith(f"{room}.")]
    return max(found, key=len) if found else None


def ours(module: str) -> bool:
    return module.split(".")[0] in ("lora", "analysis", "experiments")


ROOM_FILES = [module for module in MODULES if not is_door(module) and module not in ("analysis", "experiments")]
DOORS = [module for module in MODULES if is_door(module)]


@pytest.mark.parametrize("module", ROOM_FILES)
def test_a_room_imports_only_itself_and_rooms_below_it(module: str) -> None:
    own = room_of(module)
    assert own is not None, f"{module} is in no room: name its room in ROOMS"
    for found in imports(MODULES[module]):
        if ours(found.module):
            room = room_of(found.module)
            assert room is not None, f"{module}:{found.line} imports the door {found.module}"
            assert ROOMS.index(room) <= ROOMS.index(own), f"{module}:{found.line} imports {found.module}, above it"


@pytest.mark.parametrize("module", [module for module in ROOM_FILES if module.startswith("analysis.")])
def test_analysis_below_its_doors_knows_no_hydra_store_or_wandb(module: str) -> None:
    for found in imports(MODULES[module]):
        assert found.module.split(".")[0] not in FOREIGN, f"{module}:{found.line} imports {found.module}"


@pytest.mark.parametrize("module", ROOM_FILES)
def test_only_doors_import_the_project_inside_a_function(module: str) -> None:
    deferred = [f"line {found.line}: {found.module}" for found in imports(MODULES[module])
                if found.inside and ours(found.module)]
    assert not deferred, f"{module}: {deferred}"


@pytest.mark.parametrize("module", DOORS)
def test_a_door_is_short_has_one_main_and_is_imported_by_nothing(module: str) -> None:
    text = MODULES[module].read_text()
    assert len(text.splitlines()) <= MOST_LINES, f"{module} has {len(text.splitlines())} lines"
    functions = [node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert functions == ["main"]
    for other, path in MODULES.items():
        assert module not in [found.module for found in imports(path)], f"{other} imports the door {module}"


def test_no_file_imports_itself_through_others() -> None:
    arrows = {module: {found.module for found in imports(path) if found.module in MODULES and found.module != module}
              for module, path in MODULES.items()}
    for module, seen in arrows.items():  # an __init__ that re-exports lazily is a file as any other
        kin = {other for other in seen if module.startswith(f"{other}.") or other.startswith(f"{module}.")}
        inits = {other for other in kin if "__init__.py" in (MODULES[other].name, MODULES[module].name)}
        arrows[module] = seen - inits
    left = dict(arrows)
    while True:
        leaves = {module for module, targets in left.items() if not targets & left.keys()}
        if not leaves:
            break
        for module in leaves:
            del left[module]
    assert not left, f"circles among {sorted(left)}"
