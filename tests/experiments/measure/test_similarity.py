"""The fast and the naive way give the same numbers, and the record says how long each took."""

import inspect
import json
from pathlib import Path

from experiments.measure import similarity as benchmark
from tests.experiments.made import compose


def test_both_ways_agree_and_the_record_is_written(tmp_path: Path):
    cfg = compose("d=40", "rank1=3", "rank2=5", "large=50", "rounds=1", "threads=1",
                  f"output={tmp_path / 'analysis.json'}", config="analysis_benchmark")
    found = inspect.unwrap(benchmark.main)(cfg)
    assert found["largest_difference"] < 1e-10
    assert json.loads((tmp_path / "analysis.json").read_text()) == found
