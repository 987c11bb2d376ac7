"""The comparison of one candidate with the baseline on one benchmark: difference, intervals, test, verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from bitparity.stats import power
from bitparity.stats.arrays import PairedScores
from bitparity.stats.intervals import bca_intervals, rerun_interval, skewness_adjusted_intervals
from bitparity.stats.ratios import at_margin
from bitparity.stats.ratios import recovery as ratio_interval
from bitparity.stats.score_interval import farther_bound, score_interval, tango_interval
from bitparity.stats.significance import mcnemar_exact, sign_flip_test
from bitparity.stats.verdicts import Interval, Verdict, decide, is_worse, untraced_loss

ALPHA = 0.05
SEED = 20_240_917
RESAMPLES = 10_000
ENOUGH_FOR_BOOTSTRAP = 500
ENOUGH_FOR_STUDENT = 15
DENSE = 1 / 3  # share of differing clusters from which on their skewness is well estimated
_TIE = 1e-12  # a standard error of rounding alone
SMALLEST_MARGIN = 1e-9  # a margin in proportion to a score of 0


@dataclass(frozen=True, slots=True)
class Compared:
    """Findings on a candidate against the baseline, on one benchmark or over several; all rates are fractions.

    `units` is the number of groups, or of items without groups. `difference` is candidate minus baseline: a loss is
    negative. `ci95` and `ci90` (levels 1 - alpha and 1 - 2 alpha) speak of other questions of the kind. `recovery` is
    the candidate's score as a share of the baseline's; None, like its interval, where it cannot be told.
    `loss_shown`: the interval lies below zero and the test agrees; with the verdict "inconclusive" the loss is real and
    its size straddles the margin.
    """

    units: int
    difference: float
    ci95: Interval
    ci90: Interval
    p_value: float
    recovery: float | None
    recovery_ci95: Interval | None
    margin: float
    alpha: float
    loss_shown: bool
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Comparison(Compared):
    """A candidate against the baseline on the same items of one benchmark.

    `rerun_ci95` speaks of running these questions again (None for one sample an item, or where no item varies). `test`
    is "mcnemar_exact" or "sign_flip_permutation"; `interval` is "tango", "bca", "student_skewness" or
    "restricted_likelihood". `lost` and `gained` count items: right in one variant and not in the other, right meaning a
    mean over the samples above 1/2. `mde` is the smallest loss that would be found 80 % of the time with the flips seen
    here, `provable_margin` the smallest margin that equally good variants would prove 80 % of the time; None where
    there is none, or nothing differed.
    """

    items: int
    samples: int
    test: str
    interval: str
    lost: int
    gained: int
    rerun_ci95: Interval | None
    mde: float | None
    provable_margin: float | None


def compare_pairs(
    pairs: PairedScores, *, margin: float, recovery: float | None = None, resamples: int = RESAMPLES
) -> Comparison:
    """Compare a candidate with the baseline.

    `margin` is the loss, as a fraction, that does not matter. Equal pairs give an equal comparison: draws come from
    numpy's PCG64 seeded with SEED. Raises ValueError for a margin of 0 or less.
    With `recovery`, the share of the baseline's score that must be kept, the margin is the rest of the score measured
    here, and `ci90` counts in that it is measured (`at_margin`).
    """
    name, ci95, ci90 = deciding_intervals(pairs, recovery, resamples)
    if recovery is not None:
        margin = margin_of(pairs, recovery)
    lost, gained = pairs.flips
    p_value = no_difference_p(pairs, resamples)
    if pairs.look is not None:
        p_value = pairs.look.p_value(signed_z(pairs, p_value))
    ratio, ratio_ci95 = ratio_interval(pairs, ci95, pairs.nominal(ALPHA))
    mde, provable = _observed_power(pairs)
    return Comparison(
        items=pairs.items,
        units=len(pairs.sums),
        samples=pairs.samples,
        difference=pairs.difference,
        ci95=ci95,
        ci90=ci90,
        p_value=p_value,
        test="mcnemar_exact" if is_simple(pairs) else "sign_flip_permutation",
        interval=name,
        lost=lost,
        gained=gained,
        recovery=ratio,
        recovery_ci95=ratio_ci95,
        rerun_ci95=rerun_interval(pairs),
        mde=mde,
        provable_margin=provable,
        margin=margin,
        alpha=ALPHA,
        loss_shown=is_worse(ci95, p_value),
        verdict=decide(ci95, ci90, p_value, margin, units=len(pairs.sums)),
    )


def deciding_intervals(
    pairs: PairedScores, recovery: float | None = None, resamples: int = RESAMPLES
) -> tuple[str, Interval, Interval]:
    """`difference_intervals` with the second one as it is held against the margin, with `recovery` by `at_margin`."""
    name, ci95, ci90 = difference_intervals(pairs, resamples=resamples)
    if recovery is not None:
        ci90 = at_margin(pairs, ci90, recovery, pairs.nominal(2 * ALPHA))
    if pairs.look is not None:  # what leaves no trace among so few is not ruled out at this look's level
        ci90 = min(ci90[0], -untraced_loss(len(pairs.sums), pairs.nominal(2 * ALPHA) / 2)), ci90[1]
    return name, ci95, ci90


def margin_of(pairs: PairedScores, recovery: float) -> float:
    """The margin that keeps this share of the baseline's score as it was measured here."""
    return max((1 - recovery) * float(pairs.reference.mean()), SMALLEST_MARGIN)


def no_difference_p(pairs: PairedScores, resamples: int = RESAMPLES) -> float:
    """Two-sided p-value, as if one had looked once."""
    if is_simple(pairs):
        return mcnemar_exact(*pairs.flips)
    return sign_flip_test(pairs.sums, pairs.unit, SEED, resamples)


def signed_z(pairs: PairedScores, p_value: float) -> float:
    """The z of a two-sided p-value, with the sign of the difference."""
    return math.copysign(-float(ndtri(p_value / 2)), pairs.difference)


def is_simple(pairs: PairedScores) -> bool:
    """True if the pairs are one binary sample of independent items, for which McNemar and Tango hold."""
    return pairs.samples == 1 and pairs.binary and not pairs.clustered and pairs.second is None


def difference_intervals(
    pairs: PairedScores, alpha: float = ALPHA, seed: int = SEED, resamples: int = RESAMPLES
) -> tuple[str, Interval, Interval]:
    """The name of the method and its intervals of levels 1 - alpha and 1 - 2 alpha for the difference.

    Tango's for one binary sample of independent items. Otherwise by the number of clusters that differ: the BCa
    bootstrap from ENOUGH_FOR_BOOTSTRAP on, Student's interval adjusted for skewness from ENOUGH_FOR_STUDENT on, and
    the restricted-likelihood score interval below that, where the others cover too little. Where less than DENSE of
    the clusters differ, it also limits Student's on the side of the longer tail. At one look of several the intervals
    are repeated ones; before the last look their levels are beyond what a bootstrap of RESAMPLES can tell.
    """
    levels = pairs.nominal(alpha), pairs.nominal(2 * alpha)
    if is_simple(pairs):
        one, two = (tango_interval(*pairs.flips, pairs.items, level) for level in levels)
        return "tango", one, two
    differing = pairs.differing
    if differing >= ENOUGH_FOR_BOOTSTRAP and (pairs.look is None or pairs.look.last):
        both = bca_intervals(pairs, levels, seed, resamples)
        if both is not None:
            return "bca", both[0], both[1]
    elif differing >= ENOUGH_FOR_STUDENT:
        both = skewness_adjusted_intervals(pairs, levels)
        if both is not None:
            if differing < DENSE * len(pairs.sums):
                both = [_longer_tail(pairs, level, ci) for level, ci in zip(levels, both, strict=True)]
            return "student_skewness", both[0], both[1]
    one, two = (score_interval(pairs, level) for level in levels)
    return "restricted_likelihood", one, two


def upper_bound(pairs: PairedScores, alpha: float, recovery: float | None = None) -> float:
    """The upper end of the interval of level 1 - alpha for the difference; with `recovery` that of `at_margin`."""
    _, ci, _ = difference_intervals(pairs, alpha)
    if recovery is None:
        return ci[1]
    # the sign of the upper end of candidate - recovery x baseline decides
    return at_margin(pairs, ci, recovery, pairs.nominal(alpha), beyond=True)[1]


def _longer_tail(pairs: PairedScores, alpha: float, ci: Interval) -> Interval:
    """`ci` with the bound on the side of the longer tail no nearer than the restricted-likelihood interval's.

    Where few clusters differ, the rare large differences that make the tail may be missing among those seen.
    """
    residuals = pairs.sums - pairs.difference * pairs.sizes
    if float(np.sum(residuals**3)) < 0:
        return farther_bound(pairs, alpha, ci[0]), ci[1]
    return ci[0], farther_bound(pairs, alpha, ci[1])


def _observed_power(pairs: PairedScores) -> tuple[float | None, float | None]:
    """(smallest detectable loss, smallest provable margin) at the flips or the spread seen in `pairs`."""
    if is_simple(pairs):
        rate = sum(pairs.flips) / pairs.items
        if rate == 0:
            return None, None
        return power.detectable_loss(pairs.items, rate), power.provable_margin(pairs.items, rate)
    se = pairs.standard_error
    if se < _TIE:  # also for a single cluster
        return None, None
    loss = power.detectable_loss_normal(se, pairs.degrees + 1)
    provable = max(power.provable_margin_normal(se, pairs.degrees + 1), untraced_loss(len(pairs.sums)))
    return (loss if loss <= 1 else None), (provable if provable <= 1 else None)
