"""Holm's correction for several tests."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

Hypothesis = TypeVar("Hypothesis", bound=Hashable)


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the given order (S. Holm, Scandinavian Journal of Statistics 6 (1979) 65-70).

    Rejecting those below alpha keeps the probability of any wrong rejection in the family at alpha at most.
    Raises ValueError for a value outside [0, 1].
    """
    if any(not 0 <= p <= 1 for p in p_values):
        raise ValueError(f"p-values must lie in [0, 1]: {list(p_values)}")
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def rejected_by_holm(tests: Mapping[Hypothesis, Callable[[int], bool]]) -> set[Hypothesis]:
    """The hypotheses that Holm's procedure rejects; each test tells whether its own is rejected at alpha over a number.

    With k hypotheses left, those rejected at alpha / k go, and k shrinks. It needs no p-values, so an interval is
    a test as well.
    """
    left, rejected = dict(tests), set[Hypothesis]()
    while now := {key for key, test in left.items() if test(len(left))}:
        rejected |= now
        left = {key: test for key, test in left.items() if key not in now}
    return rejected
