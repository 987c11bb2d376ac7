"""A family of comparisons: Holm's correction of the test of no difference and of the test at the margin."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

from bitparity.stats.pooled import Result, adjusted

Key = TypeVar("Key", bound=Hashable)
UpperBound = Callable[[Key, float], float]


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


def rejected_by_holm(tests: Mapping[Key, Callable[[int], bool]]) -> set[Key]:
    """The hypotheses that Holm's procedure rejects; each test tells whether its own is rejected at alpha over a number.

    With k hypotheses left, those rejected at alpha / k go, and k shrinks. It needs no p-values, so an interval is
    a test as well.
    """
    left, rejected = dict(tests), set[Key]()
    while now := {key for key, test in left.items() if test(len(left))}:
        rejected |= now
        left = {key: test for key, test in left.items() if key not in now}
    return rejected


def in_family(
    results: Mapping[Key, Result], upper: UpperBound[Key], control: Callable[[Key], bool]
) -> dict[Key, tuple[Result, float]]:
    """Each result as it stands in its family, with its adjusted p-value. The controls are a family of their own.

    `upper` gives the upper end of a result's interval at any level 1 - alpha. Where that lies below -margin, a loss
    larger than the margin is shown at that level, so the interval is the test that Holm corrects.
    """
    found: dict[Key, tuple[Result, float]] = {}
    for flag in (False, True):
        members = {key: each for key, each in results.items() if control(key) is flag}
        p_values = adjust_holm([each.p_value for each in members.values()])
        beyond = rejected_by_holm({key: _beyond(each, key, upper) for key, each in members.items()})
        for (key, each), p in zip(members.items(), p_values, strict=True):
            found[key] = adjusted(each, p, beyond=key in beyond), p
    return found


def _beyond(result: Result, key: Key, upper: UpperBound[Key]) -> Callable[[int], bool]:
    """The test of a loss larger than the margin with so many hypotheses left."""
    alone = result.ci95[1] < -result.margin  # what is not shown alone is not shown at a smaller level
    return lambda left: alone and upper(key, result.alpha / left) < -result.margin
