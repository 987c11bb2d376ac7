"""Holm's correction for several tests."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
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


def adjust_holm_by_key(p_values: Mapping[Hypothesis, float]) -> dict[Hypothesis, float]:
    """`adjust_holm` for named tests, all of them one family."""
    return dict(zip(p_values, adjust_holm(list(p_values.values())), strict=True))
