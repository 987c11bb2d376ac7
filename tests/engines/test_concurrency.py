"""Requests side by side: how many run, when new ones begin, and that all come back whatever the lots."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitparity.engines.concurrency import LOT_COST, as_they_end, lot_size
from bitparity.errors import EngineError
from bitparity.records import Request, Sample, Sampling


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
