"""A family of comparisons: Holm's correction of the test of no difference and of the test at the margin."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

from bitparity.stats.multiple import adjust_holm, rejected_by_holm
from bitparity.stats.pooled import Result, adjusted

Key = TypeVar("Key", bound=Hashable)
UpperBound = Callable[[Key, float], float]


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
