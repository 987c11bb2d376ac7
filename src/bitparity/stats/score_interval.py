"""Score intervals for a mean paired difference: Tango's for binary pairs, and its generalisation.

Both invert a score test: a value belongs to the interval where the observed mean lies within a quantile
times the standard error *under that value*. The standard error comes from the distribution of largest
likelihood among those with that mean, so it stays positive where nothing differed, and the interval
leans to the side on which rare differences could still lie.

- Binary, one sample, no groups: the distribution has the support {-1, 0, 1} and its restricted maximum
  likelihood has a closed form: T. Tango, Statistics in Medicine 17 (1998) 891-908.
- Anything else: the support is the observed values and one farthest value on either side, and the
  restricted maximum likelihood is the empirical likelihood of A. Owen, Biometrika 75 (1988) 237-249.
  On binary pairs the two agree.

Where the statistic corrected for skewness (J. Gart and J. Nam, Biometrics 44 (1988) 323-338) reaches farther on a
side, that side uses it: the plain interval claims too much where flips are few (`perf/statistics_coverage.py`).
The general interval takes Student's quantile.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy.special import ndtri, stdtrit

from bitparity.stats.arrays import Floats, PairedScores

_STEPS = 200
_MANY = 20  # units from which on the statistic grows steadily away from the mean
_FAR = 1e6  # stands for infinitely many standard errors
_UNSEEN = 2.0  # over the differing clusters: how far beyond the largest difference seen to reckon with
_TOLERANCE = 1e-9
_TIE = 1e-12  # means closer than this are equal


def tango_moments(lost: float, gained: float, n: float, difference: float) -> tuple[float, float]:
    """Variance and third central moment of one pair's difference, by the likeliest rates that give `difference`.

    `lost` and `gained` are the discordant counts among `n` pairs; `difference` is gained minus lost, a
    fraction (Tango 1998, section 3.1).
    """
    b = -lost - gained + (2 * n - gained + lost) * difference
    c = -lost * difference * (1 - difference)
    lost_rate = (math.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
    gained_rate = lost_rate + difference
    down, up = -1 - difference, 1 - difference
    same = 1 - lost_rate - gained_rate
    variance = lost_rate + gained_rate - difference**2
    third = lost_rate * down**3 + gained_rate * up**3 - same * difference**3
    return max(variance, 0.0), third


@lru_cache(maxsize=65536)
def tango_interval(lost: int, gained: int, n: int, alpha: float = 0.05) -> tuple[float, float]:
    """Two-sided interval of level 1 - alpha for (gained - lost) / n, fractions; (-1, 1) for a single pair."""
    if n < 2:
        return -1.0, 1.0
    quantile = float(ndtri(1 - alpha / 2))
    mean = (gained - lost) / n

    def excess(value: float) -> float:
        return _excess(mean - value, *tango_moments(lost, gained, n, value), n, quantile)

    return _outward(excess, mean, -1.0, n), _outward(excess, mean, 1.0, n)


def score_interval(pairs: PairedScores, alpha: float = 0.05) -> tuple[float, float]:
    """Two-sided interval of level 1 - alpha for the mean difference over other questions of the kind.

    Clusters count as the units; with fewer than two there is nothing to estimate from and the interval
    is (-1, 1).
    """
    if len(pairs.sums) < 2:
        return -1.0, 1.0
    excess, reach = score_excess(pairs, alpha), _reach(pairs.sums, pairs.sizes)
    ends = (_outward(excess, pairs.difference, side * reach, len(pairs.sums)) for side in (-1, 1))
    return next(ends), next(ends)


def farther_bound(pairs: PairedScores, alpha: float, bound: float) -> float:
    """`bound` of an interval for the mean difference, or that of `score_interval` on its side where it is farther."""
    excess, limit = score_excess(pairs, alpha), math.copysign(_reach(pairs.sums, pairs.sizes), bound - pairs.difference)
    if abs(bound - pairs.difference) >= abs(limit - pairs.difference) or excess(bound) > 0:
        return bound
    return _outward(excess, bound, limit, len(pairs.sums))


def score_excess(pairs: PairedScores, alpha: float) -> Callable[[float], float]:
    """The function that is positive for the differences outside `score_interval`; for two clusters or more."""
    clusters = len(pairs.sums)
    rows, counts = np.unique(np.round(np.stack([pairs.sums, pairs.sizes], axis=1), 12), axis=0, return_counts=True)
    (sums, sizes), weights = rows.T, counts / clusters
    quantile = float(stdtrit(pairs.degrees, 1 - alpha / 2))
    reach = _reach(pairs.sums, pairs.sizes)

    def excess(value: float) -> float:
        u = sums - value * sizes
        farthest = (math.copysign(reach, value - pairs.difference) - value) * pairs.items / clusters
        return _excess(float(weights @ u), *restricted_moments(u, weights, farthest), clusters, quantile)

    return excess


def _reach(sums: Floats, sizes: Floats) -> float:
    """The farthest difference of a cluster reckoned with.

    The largest seen and, the fewer the clusters that differ, the more of the way from there to 1; 1 where none does.
    """
    largest = min(float(np.max(np.abs(sums) / sizes)), 1.0)
    differing = int(np.count_nonzero(sums))
    return largest + (1 - largest) * min(_UNSEEN / differing, 1.0) if differing else 1.0


def _excess(offset: float, variance: float, third: float, n: int, quantile: float) -> float:
    """Distance of the score statistic beyond the quantile, with the skewness correction where that is less.

    `offset` is the observed mean minus the value tested, `variance` and `third` the central moments of
    one unit under that value.
    """
    if abs(offset) < _TIE:
        return -quantile
    if variance <= 0:
        return _FAR
    statistic = offset * math.sqrt(n / variance)
    shift = third / (variance * math.sqrt(variance * n)) * (quantile**2 - 1) / 6
    return max(abs(statistic) - max(math.copysign(shift, shift * statistic), 0.0), 0.0) - quantile


def restricted_moments(u: Floats, weights: Floats, farthest: float) -> tuple[float, float]:
    """Second and third moment of the likeliest distribution with mean zero on the support of `u` and `farthest`.

    Probabilities are w / (1 + t u), with t the root of sum w u / (1 + t u), or 1 / -farthest where the root
    lies beyond: `farthest` then has the remaining probability (Owen 1988, with the support extended).
    """
    start = float(weights @ u)
    if start and farthest * start >= 0:  # at the very end of the support: all probability lies there
        return 0.0, 0.0
    p, rest = weights, 0.0
    if start:
        limit = -1.0 / farthest
        t = _tilt(u, weights, limit)
        p = weights / (1 + t * u)
        rest = max(1.0 - float(p.sum()), 0.0) if t == limit else 0.0
    return float(p @ u**2) + rest * farthest**2, float(p @ u**3) + rest * farthest**3


def _tilt(u: Floats, weights: Floats, limit: float) -> float:
    """The root t of sum w u / (1 + t u) between 0 and `limit`, or `limit` where there is none in reach."""
    opposite = u[u * limit < 0]
    pole = -1.0 / float(opposite[np.argmax(np.abs(opposite))]) if len(opposite) else math.inf
    if abs(limit) < abs(pole) and float(weights @ (u / (1 + limit * u))) * limit >= 0:
        return limit
    low, high, t = 0.0, limit if abs(limit) < abs(pole) else pole, 0.0
    for _ in range(_STEPS):  # Newton's method, kept inside the bracket
        q = u / (1 + t * u)
        value, slope = float(weights @ q), -float(weights @ (q * q))
        low, high = (t, high) if value * limit > 0 else (low, t)
        step = t - value / slope
        following = step if min(low, high) < step < max(low, high) else (low + high) / 2
        if abs(following - t) <= _TOLERANCE * abs(following):
            return following
        t = following
    return t


def _outward(excess: Callable[[float], float], inside: float, limit: float, n: int) -> float:
    """Where `excess` turns positive for good on the way from `inside` to `limit`; `limit` where it never does.

    Among few units it may turn more than once: then the farthest turn counts, found on a grid.
    """
    from scipy.optimize import brentq

    if abs(limit - inside) < _TOLERANCE or excess(limit) <= 0:
        return limit
    grid = np.linspace(limit, inside, 64 if n < _MANY else 2)[1:]
    start = next((value for value in grid if excess(value) <= 0), inside)
    return float(brentq(excess, start, limit, xtol=_TOLERANCE))
