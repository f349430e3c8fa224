"""Every key of every command has its values in one table: a wrong key or value is refused by name at the door."""

import functools
import inspect
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from omegaconf import OmegaConf

import lora
from experiments.config.check import check_config, check_made
from experiments.config.console import commands
from experiments.config.keys import COMMANDS, METHODS
from experiments.config.values import of_hint
from experiments.store.paths import CONF
from tests.experiments.made import compose


@functools.cache
def composed(command: str, *choices: str) -> dict[str, Any]:
    return OmegaConf.to_container(compose(*choices, config=command), resolve=True)  # type: ignore[return-value]


def changed(command: str, key: str, value: Any, *choices: str) -> dict[str, Any]:
    config = OmegaConf.create(composed(command, *choices))
    OmegaConf.update(config, key, value, force_add=True)
    return OmegaConf.to_container(config)  # type: ignore[return-value]


@pytest.mark.parametrize(("command", "choices"), [
    *((command.config_name, ()) for command in commands().values()),
    *(("benchmark", (f"benchmark={path.stem}",)) for path in sorted((CONF / "benchmark").glob("*.yaml"))),
    *(("train", (f"model={path.stem}",)) for path in sorted((CONF / "model").glob("*.yaml"))),
    *(("train", (f"method={path.stem}",)) for path in sorted((CONF / "method").glob("*.yaml"))),
], ids=str)
def test_every_shipped_choice_is_right(command: str, choices: tuple[str, ...]) -> None:
    check_config(command, composed(command, *choices))


@pytest.mark.parametrize(("command", "key", "value", "message"), [
    ("train", "trainer.bucket", "maybe", "trainer.bucket 'maybe' is not true or false"),
    ("train", "trainer.compile", "abc", "trainer.compile 'abc' is not true or false"),
    ("train", "trainer.save_adapter", "perhaps", "trainer.save_adapter 'perhaps' is not true or false"),
    ("train", "overwrite", 1, "overwrite 1 is not true or false"),
    ("train", "trainer.threads", 0, "trainer.threads 0 is not a whole number of at least 1 or null"),
    ("train", "trainer.epsilon", 0.0, "trainer.epsilon 0.0 is not a number above 0"),
    ("train", "trainer.epochs", True, "trainer.epochs True is not a whole number"),
    ("train", "trainer.learning_rate", float("nan"), "trainer.learning_rate nan is not a number above 0"),
    ("train", "trainer.betas", [0.9, 1.0], r"trainer.betas \[0.9, 1.0\] is not a list of 2, each a number"),
    ("train", "trainer.schedule", "linaer", "is not one of constant, linear; did you mean 'linear'"),
    ("train", "trainer.warmup", 3, "key 'trainer.warmup' is read by nothing; trainer has .*did you mean 'warmup_"),
    ("train", "hello", 1, "key 'hello' is read by nothing; the command has model, task,"),
    ("train", "trainer", "default", "trainer 'default' is not a group of keys"),
    ("train", "seed", "", "seed '' is not a whole number of at least 0"),
    ("train", "store", 2024, "store 2024 is not a text: write \"store='2024'\""),
    ("train", "model.revision", 1234567, "model.revision 1234567 is not a text or null"),
    ("train", "model.dropout", 1.0, "model.dropout 1.0 is not a number of at least 0 and below 1"),
    ("train", "method.targets", "qv", r"method.targets 'qv' is not a list: write \[q,v\]"),
    ("train", "method.alpha", -1, "method.alpha -1 is not a number above 0"),
    ("train", "method.rank", "abc", "method.rank 'abc' is not a whole number of at least 1"),
    ("train", "trainer.epochs", "two", "trainer.epochs 'two' is not a whole number of at least 1"),
    ("train", "method.rank", {"q": 0}, "method.rank.q 0 is not a whole number of at least 1"),
    ("train", "method.bottleneck", 3, "key 'method.bottleneck' is read by nothing; method has name, rank"),
    ("train", "task.text", "title", r"task.text 'title' is not a list: write \[title\]"),
    ("train", "task.colums", 1, "key 'task.colums' is read by nothing; task has"),
    ("train", "task.source.world.seed", "abc", "task.source.world.seed 'abc' is not a whole number"),
    ("report", "alpha", "abc", "alpha 'abc' is not a number above 0"),
    ("report", "fused", 3, "fused 3 is not a list of 1 or more, each a text or null"),
    ("spectrum", "layers", [0, "x"], "layers"),
    ("amplification", "full_svd", "maybe", "full_svd 'maybe' is not true or false or null"),
    ("subspace", "which", "dw", "which 'dw' is not one of A, B, dW"),
    ("count", "num_labels", -1, "num_labels -1 is not a whole number of at least 1"),
    ("cost", "space_gb", -1, "space_gb -1 is not a number of at least 0"),
    ("paper", "seeds", 0, r"seeds 0 is not a list: write \[0\]"),
    ("paper", "seeds", [-1], r"seeds \[-1\] is not a list of 1 or more, each a whole number of at least 0"),
    ("paper", "jobs", 0, "jobs 0 is not a whole number from 1, or below 0"),
    ("tune", "rates.lora", [1e-4, 0], r"rates.lora \[0.0001, 0\] is not a list of 1 or more, each a number above 0"),
    ("tune", "rates.lora", [float("nan")], "each a number above 0"), ("tune", "rates.lora", ["fast"], "above 0"),
    ("tune", "rates.lora", [], "a list of 1 or more"), ("tune", "ranks", [1, 0], "each a whole number of at least 1"),
    ("tune", "ranks", [2.0], "each a whole number of at least 1"), ("tune", "tasks", [], "a list of 1 or more"),
    ("tune", "rates.lora", 3, "rates.lora 3 is not a list: write .3."),
    ("latency", "seconds", "soon", "seconds 'soon' is not auto or null or a number above 0"),
    ("pretrain", "check", "surfaces", "check 'surfaces' is not .*did you mean 'surface'"),
    ("pretrain", "batch_size", None, "batch_size None is not a whole number of at least 1"),
    ("pretrain", "threads", "auto", "threads 'auto' is not a whole number of at least 1 or null"),
    ("pretrain", "precision", "fp16", "precision 'fp16' is not one of auto, bf16, fp32 or null"),
    ("pretrain", "attention", "flash", "attention 'flash' is not one of auto, eager, sdpa or null"),
    ("pretrain", "positions", "rotary", "positions 'rotary' is not sinusoidal or null"),
    ("pretrain", "dropout", 2, "dropout 2 is not a number of at least 0 and at most 1"),
    ("pretrain", "masking.answer", True, "masking.answer True is not a number of at least 0 and at most 1"),
    ("pretrain", "weight_decay", -1, "weight_decay -1 is not a number of at least 0"),
    ("pretrain", "betas", [0.9], r"betas \[0.9\] is not a list of 2"),
    ("benchmark", "rounds", 0, "rounds 0 is not a whole number of at least 1"),
])
def test_a_wrong_key_or_value_is_refused_by_name(command: str, key: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_config(command, changed(command, key, value))


def test_a_key_that_was_deleted_is_named() -> None:
    config = {**composed("train"), "trainer": {k: v for k, v in composed("train")["trainer"].items() if k != "epochs"}}
    with pytest.raises(ValueError, match=r"key 'trainer\.epochs' is not there"):
        check_config("train", config)


def test_the_table_has_every_command_and_every_class_of_methods_with_its_arguments() -> None:
    assert {command.config_name for command in commands().values()} == {*COMMANDS, "benchmark"}
    for name, table in METHODS.items():
        assert ["name", *sorted(table)] == ["name", *sorted(set(inspect.signature(getattr(lora, name)).parameters)
                                                            - {"name"})]
    files = [OmegaConf.load(path).get("_target_", "") for path in (CONF / "method").glob("*.yaml")]
    assert {target.removeprefix("lora.") for target in files if target} == METHODS.keys()


@dataclass(frozen=True, kw_only=True)
class Own:
    """A class of the user's own."""

    share: float
    columns: list[str]
    way: Literal["up", "down"] | None = None


def own_function(number: int, **rest: Any) -> None:
    """A function of the user's own."""


@pytest.mark.parametrize(("node", "message"), [
    ({"_target_": f"{__name__}.Own", "share": "abc", "columns": []}, "method.share 'abc' is not a number"),
    ({"_target_": f"{__name__}.Own", "share": 1, "columns": "a"}, r"method.columns 'a' is not a list: write \[a\]"),
    ({"_target_": f"{__name__}.Own", "share": 1}, "key 'method.columns' is not there"),
    ({"_target_": f"{__name__}.Own", "share": 1, "columns": [], "way": "upp"}, "did you mean 'up'"),
    ({"_target_": f"{__name__}.Own", "share": 1, "columns": [], "ways": "up"}, "'method.ways' is read by nothing"),
    ({"_target_": f"{__name__}.own_function", "number": "x", "other": 1}, "method.number 'x' is not a whole number"),
    ({"parts": [{"_target_": f"{__name__}.own_function", "number": None}]}, "method.parts.0.number None is not"),
])
def test_the_users_own_classes_are_checked_by_their_hints(node: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_made("method", node)
    check_made("method", {"_target_": f"{__name__}.Own", "share": 1, "columns": ["a"], "_convert_": "all"})
    check_made("method", {"_target_": f"{__name__}.own_function", "number": 3, "other": 1})


@pytest.mark.parametrize(("hint", "right", "wrong"), [
    (int | None, None, 1.5), (dict[str, int], {"a": 1}, {"a": "b"}), (tuple[float, ...], [1, 2.5], 3), (bool, False, 0),
    (list[list[int]], [[1]], [1]), (Path, "folder", 3), (float, 3, "3"), (set[str], ["a"], "a"),
])
def test_a_hint_takes_what_yaml_has_for_it(hint: Any, right: Any, wrong: Any) -> None:
    of_hint(hint).check("key", right)
    with pytest.raises(ValueError, match=r"^key[. ]"):
        of_hint(hint).check("key", wrong)


def test_a_command_refuses_before_anything_heavy_is_imported() -> None:
    code = ("import runpy, sys\nsys.argv = ['train', '+trainer.unknown=1']\ntry: runpy.run_module('experiments.train', "
            "run_name='__main__', alter_sys=True)\nexcept SystemExit as end: print(end.code, 'torch' in sys.modules)")
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.stdout.splitlines()[-1] == "1 False"
    assert "key 'trainer.unknown' is read by nothing" in ended.stderr
