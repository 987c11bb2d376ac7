"""Ratios with intervals: of two sums over independent units, and of the candidate's mean score to the baseline's.

The first is a mean a token, or how many times one mean is another; the second is the recovery, with Fieller's interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from bitparity.stats.arrays import Floats, PairedScores
from bitparity.stats.intervals import skewed_reach
from bitparity.stats.verdicts import Interval

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of sums: `low` and `high` are its 95 % interval, `error` is its standard error (None with one unit)."""

    value: float
    error: float | None
    low: float | None
    high: float | None

    @property
    def ci95(self) -> tuple[float, float] | None:
        """The interval; None where one unit alone tells nothing of its spread."""
        return None if self.low is None or self.high is None else (self.low, self.high)


def sums_by(code: NDArray[np.intp], values: NDArray[Any], count: int = 0) -> Floats:
    """The sums of the values of each code, from 0 to the largest, or of `count` codes where these are more."""
    return np.asarray(np.bincount(code, weights=values, minlength=count), dtype=np.float64)


def ratio_of_sums(above: Floats, below: Floats, unit: NDArray[np.intp] | None = None) -> Ratio | None:
    """sum(above) / sum(below), with the spread over units; None where the sum below is not positive.

    `unit` numbers the unit of each entry (an item with several answers is one), None: each is its own. The standard
    error is the linearised one of a ratio (W. Cochran, Sampling Techniques, 3rd edition (1977), 6.3), the quantile
    Student's, adjusted for skewness outwards as in `intervals.skewness_adjusted_intervals`.
    """
    if unit is not None:
        above, below = (sums_by(unit, each) for each in (above, below))
    total = float(below.sum())
    if not total > 0:
        return None
    value = float(above.sum()) / total
    units = len(below)
    if units < 2:
        return Ratio(value, None, None, None)
    residuals = above - value * below
    error = math.sqrt(float(residuals @ residuals) * units / (units - 1)) / total
    if not error > 0:
        return Ratio(value, 0.0, value, value)
    down, up = skewed_reach(residuals, float(stdtrit(units - 1, 1 - ALPHA / 2)))
    return Ratio(value, error, value - down * error, value + up * error)


def times_as_much(above: Floats, below: Floats, unit: NDArray[np.intp] | None = None) -> Ratio | None:
    """The ratio of two positive means: as `ratio_of_sums`, but on the scale of the logarithm."""
    found = ratio_of_sums(above, below, unit)
    if found is None or not found.value > 0 or found.error is None or found.low is None or found.high is None:
        return found
    down, up = ((found.value - found.low) / found.value, (found.high - found.value) / found.value)
    return Ratio(found.value, found.error, found.value * math.exp(-down), found.value * math.exp(min(up, 700.0)))


def recovery(pairs: PairedScores, ci: Interval, alpha: float = 0.05) -> tuple[float | None, Interval | None]:
    """Mean of the candidate over mean of the baseline (1 is full recovery), and its interval of level 1 - alpha.

    `ci` is the interval of the difference at the same level: near a ratio of 1 neither end of Fieller's interval is
    nearer than that of `ci`, since the plain one has no width where nothing flipped. The ratio is None where the
    baseline scores 0; the interval also where the baseline's mean is not clearly above 0: no bound can be given then.
    """
    before, after = float(pairs.reference.mean()), float(pairs.candidate.mean())
    if before == 0:
        return None, None
    if len(pairs.sums) < 2:
        return after / before, None
    quantile = float(stdtrit(pairs.degrees, 1 - alpha / 2))
    plain, difference = _mean_covariance(pairs), pairs.difference
    halves = max(difference - ci[0], 0.0), max(ci[1] - difference, 0.0)
    below, above = (fieller_interval(after, before, _floored(plain, half, quantile), quantile) for half in halves)
    return after / before, None if below is None or above is None else (below[0], above[1])


def at_margin(pairs: PairedScores, ci: Interval, recovery: float, alpha: float, *, beyond: bool = False) -> Interval:
    """`ci`, the interval of the difference, for a margin of (1 - recovery) of the baseline's measured score.

    What is tested is the mean of candidate - recovery x baseline, item by item: the difference plus a part m of the
    baseline's score, m = 1 - recovery. Its bounds join those of both (MOVER with their correlation: G. Zou and A.
    Donner, Statistics in Medicine 27 (2008) 1693-1702), so that the difference keeps its width where nothing flips.
    They are given less m x baseline, so that the lower end lies above minus the margin just where the tested one lies
    above 0. The upper end is for a gain (candidate - (1 + m) x baseline), or with `beyond` for the loss.
    """
    if len(pairs.sums) < 2:
        return ci
    covariance = _mean_covariance(pairs)
    both = float(covariance[0, 1] - covariance[1, 1])  # of difference and baseline
    spread = math.sqrt(float(covariance[0, 0] - 2 * covariance[0, 1] + covariance[1, 1]) * float(covariance[1, 1]))
    correlation = both / spread if spread > 0 else 0.0
    half = (1 - recovery) * float(stdtrit(pairs.degrees, 1 - alpha / 2)) * math.sqrt(float(covariance[1, 1]))
    below, above = pairs.difference - ci[0], ci[1] - pairs.difference
    gain = 1 if beyond else -1
    return (
        pairs.difference - math.sqrt(max(below**2 + half**2 + 2 * correlation * below * half, 0.0)),
        pairs.difference + math.sqrt(max(above**2 + half**2 + 2 * gain * correlation * above * half, 0.0)),
    )


def fieller_interval(top: float, bottom: float, covariance: Floats, quantile: float) -> Interval | None:
    """Fieller's interval for top / bottom (E. Fieller, JRSS B 16 (1954) 175-185), cut at 0.

    `covariance` is the 2 x 2 covariance of (top, bottom). The interval is all r with
    (top - r bottom)^2 <= quantile^2 Var(top - r bottom); None where that is unbounded.
    """
    (tt, tb), (_, bb) = (covariance * quantile**2).tolist()
    lead = bottom * bottom - bb
    if lead <= 0:
        return None
    half = top * bottom - tb
    root = math.sqrt(max(half * half - lead * (top * top - tt), 0.0))
    return max(0.0, (half - root) / lead), (half + root) / lead


def _mean_covariance(pairs: PairedScores) -> Floats:
    """Cluster-robust covariance of the two mean scores (candidate, baseline)."""
    clusters = len(pairs.sums)
    means = np.stack([pairs.candidate.mean(axis=1), pairs.reference])
    centred = means - means.mean(axis=1, keepdims=True)
    residuals: Floats = np.stack([np.bincount(pairs.cluster, weights=row) for row in centred])
    scale = clusters / (clusters - 1) / pairs.items**2
    return residuals @ residuals.T * scale


def _floored(covariance: Floats, half: float, quantile: float) -> Floats:
    """The covariance with the variance of the difference raised to what its interval's half-width on a side implies."""
    implied = (half / quantile) ** 2
    variance = float(covariance[0, 0] - 2 * covariance[0, 1] + covariance[1, 1])
    return covariance + np.eye(2) * max(implied - variance, 0.0) / 2
