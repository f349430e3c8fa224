"""Which examples meet in a batch: every one once an epoch, the same ones under any number of processes."""

import random
from collections.abc import Iterable

import pytest

from experiments.training.batches import device_batches, epoch_batches, evaluation_batches

LENGTHS = random.Random(0).choices(range(5, 100), k=1003)


def padding(batches: Iterable[list[int]]) -> int:
    """Padded places when each batch is as long as its longest row."""
    return sum(
        len(batch) * max(LENGTHS[i] for i in batch) - sum(LENGTHS[i] for i in batch) for batch in batches
    )


@pytest.mark.parametrize("bucket", [True, False])
def test_every_example_is_in_one_batch_an_epoch(bucket: bool) -> None:
    batches = epoch_batches(LENGTHS, 16, seed=3, epoch=1, bucket=bucket)
    assert sorted(i for batch in batches for i in batch) == list(range(1003))
    assert sorted(map(len, batches)) == [1003 % 16] + [16] * (1003 // 16)


@pytest.mark.parametrize("bucket", [True, False])
def test_the_order_is_a_function_of_seed_and_epoch(bucket: bool) -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        return epoch_batches(LENGTHS, 16, seed, epoch, bucket)

    assert order(0, 0) == order(0, 0)
    assert len({str(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_bucketing_takes_most_of_the_padding_away() -> None:
    bucketed, plain = (padding(epoch_batches(LENGTHS, 16, 0, 0, bucket)) for bucket in (True, False))
    assert bucketed < 0.2 * plain


def test_bucketed_batches_come_in_random_order() -> None:
    longest = [max(LENGTHS[i] for i in batch) for batch in epoch_batches(LENGTHS, 16, 0, 0, bucket=True)]
    assert longest != sorted(longest)
    assert longest != sorted(longest, reverse=True)


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [None, 1, 3, 100])
def test_the_processes_share_a_batch_between_them(processes: int, size: int | None) -> None:
    batch = random.Random(1).sample(range(1000), 16)
    shares = [list(device_batches(batch, rank, processes, size)) for rank in range(processes)]
    assert sorted(i for share in shares for piece in share for i in piece) == sorted(batch)
    assert all(len(piece) <= (size or 16) for share in shares for piece in share)


def test_a_process_without_a_share_still_takes_one_step() -> None:
    assert list(device_batches([7], rank=1, processes=2, size=None)) == [[]]


def test_evaluation_meets_every_row_once_and_pads_little() -> None:
    batches = evaluation_batches(LENGTHS, 64)
    assert sorted(i for batch in batches for i in batch) == list(range(1003))
    assert padding(batches) < 0.1 * sum(LENGTHS)
