"""Requests of a benchmark that has stopped meanwhile are not sent, and nothing waits for them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_chains import Fake, exam, first, make, request

from bitparity.generation.chains import ItemChains, generate_samples


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
