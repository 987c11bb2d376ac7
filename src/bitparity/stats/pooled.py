"""One candidate over several benchmarks, and families of comparisons.

Over several benchmarks: the average difference, its interval, a stratified test, recovery. In a family: Holm's
correction of the test of no difference and of the test at the margin.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from scipy.optimize import brentq

from bitparity.stats.arrays import Floats, PairedScores
from bitparity.stats.paired import ALPHA, RESAMPLES, SEED, Compared, difference_intervals
from bitparity.stats.ratios import recovery
from bitparity.stats.significance import sign_flip_draws
from bitparity.stats.verdicts import Interval, decide, is_worse

Result = TypeVar("Result", bound=Compared)
Key = TypeVar("Key", bound=Hashable)
UpperBound = Callable[[Key, float], float]


@dataclass(frozen=True, slots=True)
class Pooled(Compared):
    """A candidate against the baseline over several `benchmarks`, each counting the same.

    `recovery` is the mean of the benchmarks' ratios; None, like its interval, where some benchmark has none. `margin`
    is for the average.
    """

    benchmarks: int


def pool(strata: Sequence[PairedScores], *, margin: float) -> Pooled:
    """Pool the pairs of several benchmarks, one stratum each.

    The difference is the mean of the benchmarks' differences: what a table's average column shows. The test
    flips the signs of clusters within each benchmark and compares the same mean; the interval joins the
    benchmarks' own (MOVER: G. Zou and A. Donner, Statistics in Medicine 27 (2008) 1693-1702), and so keeps
    its width where nothing flipped. Raises ValueError without strata or for a margin of 0 or less.
    """
    if not strata:
        raise ValueError("no benchmark to pool; give at least one")
    _, all95, all90 = zip(*(difference_intervals(pairs) for pairs in strata), strict=True)
    means = [pairs.difference for pairs in strata]
    ci95, ci90 = average_interval(means, all95), average_interval(means, all90)
    looked = any(pairs.look is not None for pairs in strata)
    p_value = (_repeated_p if looked else stratified_sign_flip_test)(strata)
    units = sum(len(pairs.sums) for pairs in strata)
    ratio, ratio_ci95 = _average_recovery(strata, all95)
    return Pooled(
        benchmarks=len(strata),
        units=units,
        difference=math.fsum(means) / len(means),
        ci95=ci95,
        ci90=ci90,
        p_value=p_value,
        recovery=ratio,
        recovery_ci95=ratio_ci95,
        margin=margin,
        alpha=ALPHA,
        loss_shown=is_worse(ci95, p_value),
        verdict=decide(ci95, ci90, p_value, margin, units=units),
    )


def pool_candidates(
    pairs: Mapping[tuple[str, str], PairedScores], margins: Mapping[str, float], used: Mapping[str, Sequence[str]]
) -> dict[str, Pooled]:
    """Each candidate's benchmarks pooled against the mean of their margins.

    `pairs` by (benchmark, candidate), `margins` by benchmark, `used` by candidate; one with no benchmark is left out.
    """
    mean = {name: sum(margins[each] for each in found) / len(found) for name, found in used.items() if found}
    return {name: pool([pairs[each, name] for each in used[name]], margin=margin) for name, margin in mean.items()}


def average_upper_bound(strata: Sequence[PairedScores], alpha: float) -> float:
    """The upper end of the interval of level 1 - alpha for the mean of the strata's differences."""
    intervals = [difference_intervals(pairs, alpha)[1] for pairs in strata]
    return average_interval([pairs.difference for pairs in strata], intervals)[1]


def average_interval(means: Sequence[float], intervals: Sequence[Interval]) -> Interval:
    """Interval for the mean of independent estimates from an interval of each (MOVER, Zou and Donner 2008)."""
    centre = math.fsum(means) / len(means)
    below = math.hypot(*(mean - low for mean, (low, _) in zip(means, intervals, strict=True)))
    above = math.hypot(*(high - mean for mean, (_, high) in zip(means, intervals, strict=True)))
    return centre - below / len(means), centre + above / len(means)


def stratified_sign_flip_test(strata: Sequence[PairedScores], seed: int = SEED, resamples: int = RESAMPLES) -> float:
    """Two-sided p-value of the mean of the strata's differences under random signs within each stratum."""
    rng = np.random.default_rng(seed)
    draws: Floats = np.zeros(resamples)
    for pairs in strata:
        moved = pairs.sums[pairs.sums != 0]
        if len(moved):
            draws += sign_flip_draws(moved, rng, resamples) / pairs.items
    observed = abs(math.fsum(pairs.difference for pairs in strata))
    # sums that are equal but for their rounding are equal
    return float((1 + np.sum(np.abs(draws) >= observed - 1e-12)) / (1 + resamples))


def _repeated_p(strata: Sequence[PairedScores]) -> float:
    """Two-sided p-value of the mean of the strata's differences where some were looked at several times.

    The least alpha at which the joined repeated intervals leave out 0, not below what the test would give at least; 1
    where that is above 1/2.
    """
    means = [pairs.difference for pairs in strata]

    def excess(log_alpha: float) -> float:
        found = (difference_intervals(pairs, math.exp(log_alpha))[1] for pairs in strata)
        low, high = average_interval(means, list(found))
        return max(low, -high)

    least, most = -math.log(1 + RESAMPLES), math.log(0.5)
    if excess(most) <= 0:
        return 1.0
    return math.exp(least if excess(least) > 0 else brentq(excess, least, most, xtol=1e-3))


def _average_recovery(
    strata: Sequence[PairedScores], intervals: Sequence[Interval]
) -> tuple[float | None, Interval | None]:
    each = [recovery(pairs, ci) for pairs, ci in zip(strata, intervals, strict=True)]
    ratios = [ratio for ratio, _ in each if ratio is not None]
    bounds = [ci for _, ci in each if ci is not None]
    if len(ratios) < len(each):
        return None, None
    mean = math.fsum(ratios) / len(ratios)
    return mean, average_interval(ratios, bounds) if len(bounds) == len(each) else None


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the given order (S. Holm, Scandinavian Journal of Statistics 6 (1979) 65-70).

    Rejecting those below alpha keeps the probability of any wrong rejection in the family at alpha at most.
    Raises ValueError for a value outside [0, 1].
    """
    if any(not 0 <= p <= 1 for p in p_values):
        raise ValueError(f"p-values must lie in [0, 1]: {list(p_values)}")
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
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
    """Each result with `loss_shown` and the verdict as they stand in its family, and with its adjusted p-value.

    `upper` gives the upper end of a result's interval at any level 1 - alpha. Where that lies below -margin, a loss
    larger than the margin is shown at that level, so the interval is the test that Holm corrects. The controls are a
    family of their own.
    """
    found: dict[Key, tuple[Result, float]] = {}
    for flag in (False, True):
        members = {key: each for key, each in results.items() if control(key) is flag}
        p_values = adjust_holm([each.p_value for each in members.values()])
        stand = rejected_by_holm({key: _beyond(each, key, upper) for key, each in members.items()})
        for (key, each), p in zip(members.items(), p_values, strict=True):
            worse, beyond = is_worse(each.ci95, p, each.alpha), key in stand
            verdict = decide(each.ci95, each.ci90, p, each.margin, each.alpha, units=each.units, beyond=beyond)
            found[key] = replace(each, loss_shown=worse, verdict=verdict), p
    return found


def _beyond(result: Result, key: Key, upper: UpperBound[Key]) -> Callable[[int], bool]:
    """The test of a loss larger than the margin with so many hypotheses left."""
    alone = result.ci95[1] < -result.margin  # what is not shown alone is not shown at a smaller level
    return lambda left: alone and upper(key, result.alpha / left) < -result.margin
