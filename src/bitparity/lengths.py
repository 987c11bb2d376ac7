"""How long an answer is taken for, where the order of requests is decided: those that may run longest come first."""

from __future__ import annotations

BUDGET_WEIGHT = 0.5
"""Of the token budget, against what was measured of an item or its benchmark.

Whatever was measured, an answer may run into its budget: small models loop, and not over the same items in every
precision. One that begins too late computes alone at the end. With the answers of a 0.5B model
(`perf/request_order.py`) the measured lengths alone are no better than no order at all. Budgets alone do a little
better than this, but would put a benchmark of short answers with a large budget before one of long answers.
"""

TESTS = 512.0
"""Tokens that the tests of an answer's code count for, on top of the answer: about as many as one sequence gets while
a program runs into its time limit. So code is not what comes last, and its tests end beside the generation.
"""


def risk(measured: float | None, budget: float, tested: bool = False) -> float:
    """Tokens that an answer is taken for: its `budget` where nothing was measured, else between both.

    One whose code is `tested` is not done before its tests are.
    """
    tokens = budget if measured is None else BUDGET_WEIGHT * budget + (1 - BUDGET_WEIGHT) * measured
    return tokens + TESTS * tested
