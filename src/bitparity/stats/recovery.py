"""Recovery: the candidate's mean score as a share of the baseline's, with Fieller's interval."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import stdtrit

from bitparity.stats.arrays import Floats, PairedScores

Interval = tuple[float, float]


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
