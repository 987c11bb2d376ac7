"""The order of requests: what may run longest comes first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bitparity.generation.plan import expected_tokens, sort_longest_first
from bitparity.records import Request, Sampling


def request(benchmark: str, item: str, budget: int, scored: bool = False, sample: int = 0) -> Request:
    pairs = (((1,), (2,)),) if scored else None
    return Request(benchmark, item, sample, Sampling(budget), 0, scored=pairs)


def order(requests: list[Request], measured: dict[tuple[str, str], float]) -> list[tuple[str, int]]:
    return [(r.item, r.sample) for r in sort_longest_first(requests, {}, measured, ())]


def test_what_was_short_elsewhere_may_still_run_into_its_budget() -> None:
    """An item with a large budget comes before one whose small budget was used up, however short it was."""
    requests = [request("mmlu", "used up", 1024), request("aime", "short", 2048), request("mmlu", "short", 1024)]
    measured = {("mmlu", "used up"): 1024.0, ("aime", "short"): 100.0, ("mmlu", "short"): 100.0}
    assert order(requests, measured) == [("short", 0), ("used up", 0), ("short", 0)]
    assert expected_tokens(100.0, 2048) > expected_tokens(1024.0, 1024) > expected_tokens(100.0, 1024)


def test_a_benchmark_of_short_answers_does_not_come_first_for_its_budget_alone() -> None:
    requests = [request("short", "s", 32_768), request("long", "l", 32_768)]
    assert order(requests, {("short", "s"): 500.0, ("long", "l"): 16_000.0}) == [("l", 0), ("s", 0)]


def test_samples_stay_together_and_texts_to_score_come_last() -> None:
    requests = [request("choice", "c", 1, scored=True)]
    requests += [request("b", item, 100, sample=n) for n in range(2) for item in ("y", "z")]
    measured = {("b", "y"): 10.0, ("b", "z"): 50.0}
    assert order(requests, measured) == [("z", 0), ("z", 1), ("y", 0), ("y", 1), ("c", 0)]


def test_what_others_build_on_comes_before_all_else() -> None:
    requests = [request("long", "l", 4096), request("steps", "s", 16)]
    found = sort_longest_first(requests, {"steps"}, {}, ())
    assert [r.benchmark for r in found] == ["steps", "long"]


def test_code_does_not_come_last_for_its_tests_take_time() -> None:
    budgets = {"long": 2048, "choice": 1024, "code": 1024}
    requests = [request(name, name, budget) for name, budget in budgets.items()]
    for measured in ({}, {("choice", "choice"): 400.0, ("code", "code"): 200.0}):
        assert [r.benchmark for r in sort_longest_first(requests, {}, measured, {"code"})] == ["long", "code", "choice"]


@given(st.floats(1, 1e6), st.floats(1, 1e6))
def test_between_what_was_measured_and_the_budget(measured: float, budget: float) -> None:
    assert min(measured, budget) * (1 - 1e-9) <= expected_tokens(measured, budget) <= max(measured, budget) * (1 + 1e-9)
    assert expected_tokens(None, budget) == budget
