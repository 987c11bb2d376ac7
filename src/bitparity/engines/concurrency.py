"""Requests answered side by side, for engines that take each on its own."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable

from bitparity.records import Request, Sample

LOT_COST = 2.0  # steps that taking in a lot of prompts costs: more for small models, less where a step is long
LOT_MOST = 8  # of the places this part at most is left free


async def as_they_end(
    requests: AsyncIterator[Request],
    answer: Callable[[Request], Awaitable[Sample]],
    most: int,
    lot: Callable[[], int] = lambda: 1,
) -> AsyncIterator[Sample]:
    """The samples as they end, with at most `most` requests under way.

    Once so many are, no new one begins before `lot()` places are free again; then all of these are filled. Where an
    answer fails the others are given up, and an ExceptionGroup is raised behind the samples that ended.
    """
    finished: asyncio.Queue[Sample | None] = asyncio.Queue()
    free, awaited, opened = most, 1, asyncio.Event()  # places; how many must be free again before one is given
    opened.set()

    async def one(request: Request) -> None:
        nonlocal free
        try:
            finished.put_nowait(await answer(request))
        finally:
            free += 1
            if free >= awaited:
                opened.set()

    async def submit() -> None:
        nonlocal free, awaited
        try:
            async with asyncio.TaskGroup() as group:
                async for request in requests:
                    await opened.wait()
                    free -= 1
                    if not free:
                        awaited = min(lot(), most)
                        opened.clear()
                    group.create_task(one(request))
        finally:
            # also after a failure: the reader must not wait for ever
            finished.put_nowait(None)

    submitting = asyncio.create_task(submit())
    while (sample := await finished.get()) is not None:
        yield sample
    # raises what an answer raised
    await submitting


def lot_size(places: int, tokens: float) -> int:
    """The number of an engine's `places` that are best filled together, for answers of `tokens` tokens on average.

    A step that takes in a prompt costs more than one that only goes on with what runs: with several hundred sequences
    it is larger than any captured CUDA graph. Filling each place as it gets free makes nearly every step such a one.
    Per step places / tokens answers end, so a lot of n needs its LOT_COST extra steps every n * tokens / places steps
    and leaves n / 2 of the places empty meanwhile; the sum is least at places * sqrt(2 * LOT_COST / tokens).
    `perf/lots.py` measures it: a 0.5B model with 512 places on an H100, 580 tokens an answer, gives 1.4 times the
    tokens a second with a LOT_COST of 1 and 1.5 times with 4, against places that are filled one by one.
    """
    best = places * math.sqrt(2 * LOT_COST / max(1.0, tokens))
    return max(1, min(round(best), places // LOT_MOST))
