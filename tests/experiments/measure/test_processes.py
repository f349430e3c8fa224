"""Throughput is of all processes together, and each variant of a model is measured."""

import json
from concurrent.futures import Future

from experiments.measure import processes
from tests.experiments.made import compose


class Inline:
    """A worker that runs a call where it is submitted."""

    def submit(self, function, *args):
        future: Future = Future()
        future.set_result(function(*args))
        return future


def test_every_variant_of_a_model_is_measured_with_all_workers_of_its_layout(monkeypatch) -> None:
    calls = []

    def training_speed(adapted: str, *job) -> float:
        calls.append((json.loads(adapted)["model"]["name"], *job))
        return 10.0

    monkeypatch.setattr(processes, "training_speed", training_speed)
    cfg = compose("benchmark=processes", "rounds=2", "batch_size=3", "length=4", "seconds=1", config="benchmark")
    workers = {"one process": [Inline()], "one a core": [Inline(), Inline()]}
    variants = processes.model_variants(cfg, "deberta-nano", workers)
    assert {name: row["tokens_per_second"] for name, row in variants.items()} == {
        "deberta-nano one process fp32 eager": 10, "deberta-nano one process bf16 eager": 10,
        "deberta-nano one a core fp32 eager": 20, "deberta-nano one a core bf16 eager": 20}
    assert {row["parameters"] for row in variants.values()} == {968_066}  # those of the committed record
    assert len(calls) == (1 + 2) * 2 * (1 + 2)  # warm-up and rounds, precisions, workers
    assert set(calls) == {("deberta-nano", precision, "eager", 3, 4, 1) for precision in ("fp32", "bf16")}


def test_the_speed_of_a_process_is_tokens_of_its_steps_per_second(monkeypatch) -> None:
    now = iter(range(100))
    monkeypatch.setattr(processes.time, "perf_counter", lambda: float(next(now)))
    adapted = json.dumps(processes.adapted_config("roberta-nano"))
    # read at 0; steps begin at 1, 2, 3; 4 is not below 4 seconds; read at 5
    assert processes.training_speed(adapted, "fp32", "eager", 2, 5, 4.0) == 3 * 2 * 5 / 5
