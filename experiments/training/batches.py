"""The examples of each batch: random over the epoch, alike in length within a batch.

The order is a function of (seed, epoch) alone, so a resumed run meets the batches that it would have met, and a
global batch holds the same examples under any number of processes and any size that one device takes at a time.
"""

from collections.abc import Iterator, Sequence

import torch

POOL = 32  # batches per pool: examples are sorted by length within a pool, pools are random


def epoch_batches(lengths: Sequence[int], batch_size: int, seed: int, epoch: int, bucket: bool) -> list[list[int]]:
    """Global batches of one epoch, lists of example numbers; every example once, the last batch may be short."""
    generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
    order = torch.randperm(len(lengths), generator=generator).tolist()
    if not bucket:
        return [order[i:i + batch_size] for i in range(0, len(order), batch_size)]
    pools = [order[i:i + batch_size * POOL] for i in range(0, len(order), batch_size * POOL)]
    order = [i for pool in pools for i in sorted(pool, key=lengths.__getitem__)]
    batches = [order[i:i + batch_size] for i in range(0, len(order), batch_size)]
    shuffled = torch.randperm(len(batches), generator=generator).tolist()
    return [batches[i] for i in shuffled]


def device_batches(batch: Sequence[int], rank: int, processes: int, size: int | None) -> Iterator[list[int]]:
    """Process `rank`'s share of a global batch in pieces of at most `size`, gradients to be accumulated.

    A process that would have nothing yields one empty piece: it still takes part in the exchange of gradients.
    """
    share = list(batch[rank::processes])
    size = size or max(len(share), 1)
    yield from ([share[i:i + size] for i in range(0, len(share), size)] or [[]])


def evaluation_batches(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Batches in order of length, so that padding is small; results are put back in place by number."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    return [order[i:i + size] for i in range(0, len(order), size)]
