"""Both ways give the same phi, and the record says how long each took."""

from experiments.measure.similarity import similarity_benchmark
from tests.experiments.made import compose


def test_both_ways_agree_and_each_is_timed() -> None:
    cfg = compose("benchmark=similarity", "d=40", "rank1=3", "rank2=5", "large=50", "rounds=2", config="benchmark")
    record = similarity_benchmark(cfg)
    assert 0 <= record.summary["largest_difference"] < 1e-10
    seconds = {name: variant["seconds"] for name, variant in record.variants.items()}
    assert all(value > 0 for value in seconds.values())
    assert record.summary["times_faster"] == seconds["naive"] / seconds["fast"]
    assert {name: variant["width"] for name, variant in record.variants.items()} == {
        "fast": 40, "naive": 40, "similarity": 50, "amplification": 50}
