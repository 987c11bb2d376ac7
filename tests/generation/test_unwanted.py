"""Requests of a benchmark that has stopped meanwhile are not sent, and nothing waits for them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_chains import Fake, exam, first, make, request

from bitparity.exam.stops import answered
from bitparity.generation.blocks import Blocks
from bitparity.generation.chains import ItemChains, generate_samples
from bitparity.records import Grade


@pytest.mark.parametrize("batches", [None, list])
@pytest.mark.parametrize("chained", [True, False])
def test_nothing_more_is_sent_of_a_benchmark_that_has_stopped(chained: bool, batches: type[list] | None) -> None:
    frozen, engine, stopped = exam(3, 1, 2), Fake(), set[str]()
    wanted = lambda r: r.benchmark not in stopped  # noqa: E731
    others = [replace(request(f"o{n}", 0), benchmark="others") for n in range(50)]
    chains = {"steps": ItemChains(frozen, 1, {}, make, None)} if chained else {}
    for number, _ in enumerate(generate_samples(engine, [*first(frozen), *others], chains, batches, wanted)):
        if number == 5:
            stopped.add("others")
    asked = [r.item for r in engine.asked]
    assert sum(item.startswith("o") for item in asked) < 10
    assert {item for item in asked if not item.startswith("o")} == (
        {e.item.id for e in frozen.items} if chained else {"a1", "b1", "c1"}
    )


def test_a_chain_that_has_stopped_is_not_gone_on_with() -> None:
    frozen, engine, stopped = exam(3, 3, 3), Fake(), set[str]()
    wanted = lambda r: r.benchmark not in stopped  # noqa: E731
    chains = {"steps": ItemChains(frozen, 1, {}, make, None)}
    for _ in generate_samples(engine, first(frozen), chains, None, wanted):
        stopped.add("steps")
    assert len(engine.asked) <= 2


def test_what_is_held_waits_and_others_go_first() -> None:
    engine, others = Fake(), [request(f"o{n}", 0) for n in range(20)]
    later = [replace(request(f"x{n}", 0), benchmark="later") for n in range(5)]
    held = lambda r: r.benchmark == "later" and len(engine.asked) < 15  # noqa: E731
    bursts = list(generate_samples(engine, [*others[:5], *later, *others[5:]], {}, None, held=held))
    asked = [r.item for r in engine.asked]
    assert len(bursts) == len(asked) == 25
    assert asked[:15] == [f"o{n}" for n in range(15)]
    assert sorted(asked[15:]) == sorted([*(f"o{n}" for n in range(15, 20)), *(f"x{n}" for n in range(5))])
    assert asked.index("x0") < asked.index("x4") < asked.index("o19")


def test_what_is_held_until_it_is_wanted_no_more_is_not_sent_and_nothing_waits_for_it() -> None:
    engine, stopped = Fake(), set[str]()
    later = [replace(request(f"x{n}", 0), benchmark="later") for n in range(5)]
    requests = [*later, *(request(f"o{n}", 0) for n in range(10))]
    bursts = generate_samples(
        engine, requests, {}, None, lambda r: r.benchmark not in stopped, lambda r: r.benchmark == "later"
    )
    for number, _ in enumerate(bursts):
        if number == 9:
            stopped.add("later")
    assert [r.item for r in engine.asked] == [f"o{n}" for n in range(10)]


def test_a_block_does_not_wait_for_what_a_failed_answer_keeps_from_being_asked() -> None:
    two_samples: Any = SimpleNamespace(samples=2)
    blocks = Blocks(two_samples, exam(3, 1, 2), (3, 4, 6))
    first_step = [(("a1", 0), True), (("a1", 1), False)]
    assert not blocks.add(first_step)
    assert blocks.missing == 2  # a2 and a3 of the second sample
    assert not blocks.add([(("a2", 1), False)])
    assert blocks.add([(("a3", 1), False)])
    assert blocks.complete == 1
    assert blocks.add([(("b1", k), True) for k in range(2)])
    assert not blocks.add([(("c1", 0), True), (("c1", 0), True), (("c1", 1), False)])
    assert blocks.missing == 1


def test_a_look_does_not_wait_for_it_either() -> None:
    right = Grade(1.0, "", "answered")
    failed = {("a1", 0): False, ("a2", 0): True, ("b1", 0): False, ("c1", 0): False}
    found = answered(exam(3, 1, 2), 1, failed, {("a1", 0): right, ("b1", 0): right, ("c1", 0): right})
    assert found.settled[:, 0].tolist() == [True, True, True, True, True, False]
    assert np.isnan(found.scores[:, 0]).tolist() == [False, True, True, False, False, True]
    again = answered(exam(3), 1, {("a1", 0): True, ("a2", 0): False, ("a3", 0): False}, {("a2", 0): right})
    assert again.settled[:, 0].tolist() == [True, True, False]
