"""The structure of the code: commands (doors), rooms, and which room may import which (see experiments/README.md)."""

import ast
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.conftest import ROOT
from tests.source import CODE, TESTS, functions, imports, module_of, tree

ROOMS = (  # each may import itself and the rooms before it
    "lora",
    "analysis.linalg", "analysis.adapters", "analysis.figures", "analysis.studies", "analysis.page",
    "experiments.store", "experiments.config", "experiments.metrics", "experiments.tables", "experiments.models",
    "experiments.tasks", "experiments.training", "experiments.runs", "experiments.sweeps", "experiments.measure",
    "experiments.pretraining", "experiments.artifacts",
)
FOREIGN_TO_ANALYSIS = ("hydra", "omegaconf", "wandb", "experiments")  # below its doors
MOST_LINES = {"door": 60, "file": 300, "function": 40}


def is_door(module: str) -> bool:
    """A file directly in experiments/ or analysis/; their empty __init__.py files are not doors."""
    package, *names = module.split(".")
    return package != "lora" and len(names) == 1 and CODE[module].name != "__init__.py"


def room_of(module: str) -> str | None:
    """The room that holds a module; None for a door."""
    return next((room for room in ROOMS if module == room or module.startswith(f"{room}.")), None)


DOORS = [module for module in CODE if is_door(module)]
IN_ROOMS = [module for module in CODE if not is_door(module) and module not in ("analysis", "experiments")]


@pytest.mark.parametrize("module", IN_ROOMS)
def test_a_room_imports_only_itself_and_rooms_below_it(module: str) -> None:
    room = room_of(module)
    assert room is not None, f"{module} is in no room: add its folder to ROOMS"
    for imported in imports(CODE[module]):
        if imported.is_ours:
            target = room_of(imported.module)
            assert target is not None, f"{module}:{imported.line} imports the door {imported.module}"
            assert ROOMS.index(target) <= ROOMS.index(room), f"{module}:{imported.line}: {imported.module} is above it"


@pytest.mark.parametrize("module", [module for module in IN_ROOMS if module.startswith("analysis.")])
def test_analysis_below_its_doors_knows_no_hydra_store_or_wandb(module: str) -> None:
    foreign = [f"line {imported.line}: {imported.module}" for imported in imports(CODE[module])
               if imported.module.split(".")[0] in FOREIGN_TO_ANALYSIS]
    assert not foreign


@pytest.mark.parametrize("module", IN_ROOMS)
def test_only_doors_import_the_project_inside_a_function(module: str) -> None:
    deferred = [f"line {imported.line}: {imported.module}" for imported in imports(CODE[module])
                if imported.deferred and imported.is_ours]
    assert not deferred


@pytest.mark.parametrize("module", DOORS)
def test_a_door_is_one_short_main(module: str) -> None:
    definitions = [node.name for node in tree(CODE[module]).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert definitions == ["main"]
    assert len(CODE[module].read_text(encoding="utf-8").splitlines()) <= MOST_LINES["door"]


def test_nothing_imports_a_door() -> None:
    assert not [f"{module}:{imported.line} imports {imported.module}" for module, path in CODE.items()
                for imported in imports(path) if imported.module in DOORS]


def test_the_packages_of_the_doors_hold_no_code_of_their_own() -> None:
    assert not [package for package in ("analysis", "experiments") if tree(CODE[package]).body]


def test_no_file_imports_itself_through_others() -> None:
    arrows = {module: {imported.module for imported in imports(path)} - {module} for module, path in CODE.items()}
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_one_class_name_is_one_class() -> None:
    homes = defaultdict(list)
    for module, path in CODE.items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(module)
    assert not {name: modules for name, modules in homes.items() if len(modules) > 1}


@pytest.mark.parametrize("module", CODE)
def test_a_file_and_its_functions_are_short(module: str) -> None:
    path = CODE[module]
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES["file"]
    lengths = {f"{node.name}, line {node.lineno}": (node.end_lineno or 0) - node.lineno + 1 for node in functions(path)}
    assert not {name: length for name, length in lengths.items() if length > MOST_LINES["function"]}


def test_no_test_imports_another_test_file() -> None:
    assert not [f"{module}:{imported.line} imports {imported.module}" for module, path in TESTS.items()
                for imported in imports(path) if imported.module.rpartition(".")[2].startswith("test_")]


@pytest.mark.parametrize("package", ["analysis", "experiments"])
def test_the_tests_of_a_room_stand_in_a_folder_of_its_name(package: str) -> None:
    """A test directly in tests/<package> is a door's."""
    folders = {module_of(path) for path in (ROOT / package).rglob("*/")} & set(CODE)
    for path in (ROOT / "tests" / package).rglob("test_*.py"):
        if path.parent.name != package:
            assert module_of(path.parent).removeprefix("tests.") in folders, path
        else:
            assert f"{package}.{path.stem.removeprefix('test_')}" in DOORS, path
