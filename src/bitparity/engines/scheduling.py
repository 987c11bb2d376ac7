"""Requests that an engine computes together: in fixed batches, or side by side as places get free.

Fixed batches are for engines whose numbers depend on what is computed together. In BF16 a row's result depends on its
batch: other shapes take other kernels and other orders of summation. So batches are a pure function of the whole
ordered list of requests, never of what happens to be missing: a resumed run computes exactly what an undisturbed one
would have.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterator, Sequence
from dataclasses import replace

from bitparity.engines.checks import prompt_tokens
from bitparity.records import Request, RequestKey, Sample, Sampling, request_key

LOT_COST = 2.0  # steps that taking in a lot of prompts costs: more for small models, less where a step is long
LOT_MOST = 8  # of the places this part at most is left free
MAX_PADDED_TOKENS = 65_536  # prompt tokens of one batch, padding included: bounds memory at long prompts

_Group = tuple[float, str, bool, Sampling | None]


def fixed_batches(
    requests: Sequence[Request],
    batch_size: int,
    done: Container[RequestKey],
    *,
    shifted: bool = False,
    part: Callable[[Request], float] = lambda request: 0.0,
) -> list[Request]:
    """The requests to compute, in order, each with its batch's number.

    Requests of one benchmark and sampling are sorted by length (longest first, so that memory fails
    early) and cut into batches of at most `batch_size` rows and MAX_PADDED_TOKENS; a scored request has
    a row for each continuation. A batch is left out where all of it is in `done`, which holds
    (benchmark, item, sample); otherwise it comes whole, its finished members included. With `shifted` the
    first batch of each is half as large, so that a control's items meet other neighbours. No batch has requests of
    more than one `part`.
    """
    first = max(1, batch_size // 2) if shifted else batch_size
    groups: dict[_Group, list[Request]] = {}
    for request in requests:
        scored = request.scored is not None
        key = (part(request), request.benchmark, scored, None if scored else request.sampling)
        groups.setdefault(key, []).append(request)
    batches = itertools.chain.from_iterable(
        _cut(sorted(group, key=prompt_tokens, reverse=True), batch_size, first) for group in groups.values()
    )
    return [
        replace(request, batch=number)
        for number, batch in enumerate(batches)
        if any(request_key(r) not in done for r in batch)
        for request in batch
    ]


def _cut(ordered: Sequence[Request], batch_size: int, first: int) -> Iterator[list[Request]]:
    """Cut a list sorted by falling length, the first batch of at most `first` rows; one request is never divided."""
    batch: list[Request] = []
    rows = longest = 0
    most = first
    for request in ordered:
        more = 1 if request.scored is None else max(1, len(request.scored))
        if batch and (rows + more > most or (rows + more) * longest > MAX_PADDED_TOKENS):
            yield batch
            batch, rows, most = [], 0, batch_size
        if not batch:
            longest = prompt_tokens(request)
        batch.append(request)
        rows += more
    if batch:
        yield batch


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
