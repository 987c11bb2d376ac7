"""Many devices: a benchmark that has stopped is given out no more, and the rest is answered."""

from __future__ import annotations

import pytest
from toy import Recorded, ToyPool, requests

from bitparity.cluster.driver import Driver, Hooks
from bitparity.cluster.pieces import Lengths, PieceQueue
from bitparity.generation.plan import VariantPlan


@pytest.mark.parametrize("fault_rate", [0.0, 0.05])
@pytest.mark.parametrize("batch_size", [None, 4])
def test_a_benchmark_that_has_stopped_is_given_out_no_more(batch_size: int | None, fault_rate: float) -> None:
    recorded, pool = Recorded(), ToyPool(3, seed=2)
    pool.fault_rate = fault_rate

    class Stopping(Hooks):
        def stopped(self, variant: str) -> set[str]:
            return {"b"} if len(recorded.samples.get(variant, {})) > 20 else set()

    work = [*requests("b", 2000, batch_size), *requests("c", 50, batch_size)]
    plan = VariantPlan(work, {}, None if batch_size is None else list)
    driver = Driver({"v": PieceQueue("v", plan, Lengths())}, pool, recorded, Stopping())
    driver.run()
    answered = [benchmark for benchmark, _, _ in recorded.samples["v"]]
    assert answered.count("c") == 50
    assert answered.count("b") < 1000
    assert not driver.failures
