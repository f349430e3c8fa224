"""The benchmarks behind one command: each has its own groups and keys."""

import pytest
from hydra.utils import get_method

from experiments.config.overrides import CommandLine
from experiments.measure.sheets import PAGES
from experiments.store.paths import CONF
from tests.experiments.made import compose


def line(*words: str) -> CommandLine:
    return CommandLine("benchmark", CONF, words)


def test_there_is_a_page_and_a_function_for_every_benchmark() -> None:
    assert sorted(path.stem for path in (CONF / "benchmark").glob("*.yaml")) == sorted(PAGES)
    for name in PAGES:
        function = get_method(compose(f"benchmark={name}", config="benchmark").measure)
        assert function.__name__ == f"{name}_benchmark"


def test_a_benchmark_brings_its_groups_and_keys() -> None:
    words = ["task=rte-nano", "benchmark=epoch", "rows=8", "trainer.threads=1"]
    assert line(*words).checked() == words
    with pytest.raises(ValueError, match="group 'task' is not one of benchmark, method, model"):
        line("task=rte-nano").checked()
    with pytest.raises(ValueError, match="key 'rows' is not one of"):
        line("benchmark=step", "rows=8").checked()
    with pytest.raises(ValueError, match=r"benchmark 'stpe' is not one of .*; did you mean 'step'"):
        line("benchmark=stpe", "task=rte-nano").checked()


def test_help_lists_the_keys_of_the_chosen_benchmark_as_they_are_typed() -> None:
    text = line("benchmark=similarity").help("experiments.benchmark", "", [])
    assert "  rank1=8 " in text
    assert "benchmark.rank1" not in text
    assert "memory_steps" not in text
