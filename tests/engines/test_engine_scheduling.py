"""Requests that are computed together: side by side, whatever the lots, and in fixed batches."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitparity.engines.scheduling import LOT_COST, MAX_PADDED_TOKENS, as_they_end, fixed_batches, lot_size
from bitparity.errors import EngineError
from bitparity.records import Request, Sample, Sampling

GREEDY = Sampling(max_tokens=8)


async def asked(count: int) -> AsyncIterator[Request]:
    for n in range(count):
        yield Request("b", str(n), 0, Sampling(8), 0, (1,))


def sample(request: Request) -> Sample:
    return Sample("b", request.item, 0, "", "stop", 1, 1, 0.0)


class Steps:
    """An engine of steps: an answer takes its number of them. Notes at which step each began, and how many ran."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths, self.began, self.ran = lengths, dict[str, int](), list[int]()
        self.step = self.running = 0

    async def answer(self, request: Request) -> Sample:
        self.began[request.item] = self.step
        self.running += 1
        end = self.step + self.lengths[int(request.item)]
        while self.step < end:
            await asyncio.sleep(0)
        self.running -= 1
        return sample(request)

    async def tick(self) -> None:
        while True:
            for _ in range(10):  # all that an ended answer sets going
                await asyncio.sleep(0)
            self.step += 1
            self.ran.append(self.running)


def run(lengths: list[int], most: int, lot: int) -> tuple[Steps, list[str]]:
    async def all_of_it() -> list[str]:
        ticking = asyncio.create_task(steps.tick())
        found = [s.item async for s in as_they_end(asked(len(lengths)), steps.answer, most, lambda: lot)]
        ticking.cancel()
        return found

    steps = Steps(lengths)
    return steps, asyncio.run(asyncio.wait_for(all_of_it(), 60))


@settings(max_examples=60)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=40), st.integers(1, 9), st.integers(1, 12))
def test_every_request_is_answered_once_and_never_too_many_run(lengths: list[int], most: int, lot: int) -> None:
    steps, found = run(lengths, most, lot)
    assert sorted(found) == sorted(map(str, range(len(lengths))))
    assert max(steps.ran, default=0) <= most


def test_new_requests_begin_in_lots() -> None:
    steps, _ = run([5 + n % 7 for n in range(64)], 8, 4)
    later = [step for item, step in steps.began.items() if int(item) >= 8]
    assert len(set(later)) <= len(later) / 4 + 1
    alone, _ = run([5 + n % 7 for n in range(64)], 8, 1)
    assert len(set(alone.began.values())) > 2 * len(set(steps.began.values()))


def test_few_requests_wait_for_nothing() -> None:
    steps, found = run([3] * 7, 8, 8)
    assert len(found) == 7
    assert set(steps.began.values()) == {0}


def test_one_that_fails_ends_the_others_behind_what_came() -> None:
    async def answer(request: Request) -> Sample:
        if request.item == "2":
            await asyncio.sleep(0.01)
            raise EngineError("no more")
        if request.item == "3":
            await asyncio.sleep(3600)
        return sample(request)

    async def all_of_it() -> None:
        async for one in as_they_end(asked(4), answer, 4):
            came.append(one.item)

    came: list[str] = []
    with pytest.raises(ExceptionGroup) as raised:
        asyncio.run(all_of_it())
    assert isinstance(raised.value.exceptions[0], EngineError)
    assert came == ["0", "1"]


@given(st.integers(8, 2048), st.floats(64, 50_000))
def test_the_lot_that_costs_least(places: int, tokens: float) -> None:
    """Against trying every size: steps lost a step to taking prompts in, and the share of places that stay empty."""

    def cost(lot: int) -> float:
        return LOT_COST * places / tokens / lot + lot / 2 / places

    least = min(map(cost, range(1, places // 8 + 1)))
    assert cost(lot_size(places, tokens)) <= 1.1 * least


def test_lots_of_some_engines() -> None:
    assert lot_size(512, 580.0) == 43
    assert lot_size(512, 20_000.0) == 7
    assert lot_size(64, 8_000.0) == lot_size(1, 1.0) == lot_size(4, 0.0) == 1
    assert lot_size(512, 1.0) == 64  # texts that are only scored


def generate(number: int, length: int, sampling: Sampling = GREEDY, benchmark: str = "b") -> Request:
    return Request(benchmark, f"q{number}", 0, sampling, number, tuple(range(length)))


def scored(number: int, lengths: list[int]) -> Request:
    pairs = tuple((tuple(range(length)), (1,)) for length in lengths)
    return Request("b", f"s{number}", 0, GREEDY, number, None, pairs)


def key(request: Request) -> tuple[str, str, int]:
    return (request.benchmark, request.item, request.sample)


requests = st.lists(st.integers(1, 40), max_size=60).map(
    lambda lengths: [
        scored(n, [length, length + 1]) if length % 3 == 0 else generate(n, length) for n, length in enumerate(lengths)
    ]
)


@given(requests, st.integers(1, 9), st.sets(st.integers(0, 59)))
def test_what_is_done_changes_no_batch(everything: list[Request], size: int, done: set[int]) -> None:
    keys = {key(r) for n, r in enumerate(everything) if n in done}
    whole, rest = fixed_batches(everything, size, set()), fixed_batches(everything, size, keys)
    wanted = {r.batch for r in whole if key(r) not in keys}
    assert rest == [r for r in whole if r.batch in wanted]


@given(requests, st.integers(1, 9))
def test_every_request_is_in_one_batch(everything: list[Request], size: int) -> None:
    whole = fixed_batches(everything, size, set())
    assert Counter(map(key, whole)) == Counter(map(key, everything))
    assert [b for b, _ in itertools.groupby(r.batch for r in whole)] == sorted({r.batch for r in whole})
    for _, members in itertools.groupby(whole, key=lambda r: r.batch):
        batch = list(members)
        assert len(batch) == 1 or sum(len(r.scored or (0,)) for r in batch) <= size
        assert len({r.scored is None for r in batch}) == 1


def test_samplings_and_benchmarks_are_not_mixed() -> None:
    warm = Sampling(max_tokens=8, temperature=0.7)
    whole = fixed_batches([generate(0, 3), generate(1, 3, warm), generate(2, 3, benchmark="c")], 8, set())
    assert len({r.batch for r in whole}) == 3


def test_long_prompts_make_small_batches() -> None:
    whole = fixed_batches([generate(n, 20_000) for n in range(7)], 32, set())
    sizes = Counter(r.batch for r in whole)
    assert max(sizes.values()) == MAX_PADDED_TOKENS // 20_000


def test_longest_first() -> None:
    whole = fixed_batches([generate(n, n + 1) for n in range(5)], 2, set())
    assert [len(r.token_ids or ()) for r in whole] == [5, 4, 3, 2, 1]
