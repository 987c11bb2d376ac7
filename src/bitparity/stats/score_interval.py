"""Score intervals for a mean paired difference: Tango's for binary pairs, and its generalisation.

Both invert a score test: a value belongs to the interval where the observed mean lies within a quantile
times the standard error *under that value*. The standard error comes from the distribution of largest
likelihood among those with that mean, so it stays positive where nothing differed, and the interval
leans to the side on which rare differences could still lie.

- Binary, one sample, no groups: the distribution has the support {-1, 0, 1} and its restricted maximum
  likelihood has a closed form. T. Tango, Statistics in Medicine 17 (1998) 891-908.
- Anything else: the support is the observed values and one farthest value on either side, the restricted
  maximum likelihood is the empirical likelihood of A. Owen, Biometrika 75 (1988) 237-249, the
  quantile Student's. On binary pairs both are the same but for that quantile.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy.special import ndtri, stdtrit

from bitparity.stats.arrays import Floats, PairedScores

_STEPS = 200
_FEW = 2  # clusters so few that nothing is known of the farthest difference
_TOLERANCE = 1e-9


def tango_variance(lost: float, gained: float, n: float, difference: float) -> float:
    """Variance of one pair's difference under `difference`, by restricted maximum likelihood (Tango 1998).

    `lost` and `gained` are the discordant counts among `n` pairs; `difference` is gained minus lost, a fraction.
    """
    b = -lost - gained + (2 * n - gained + lost) * difference
    c = -lost * difference * (1 - difference)
    root = math.sqrt(max(b * b - 8 * n * c, 0.0))
    lost_rate = (root - b) / (4 * n)
    return max(2 * lost_rate + difference * (1 - difference), 0.0)


@lru_cache(maxsize=65536)
def tango_interval(lost: int, gained: int, n: int, alpha: float = 0.05) -> tuple[float, float]:
    """Two-sided interval of level 1 - alpha for (gained - lost) / n, fractions. Positive width always."""
    z = float(ndtri(1 - alpha / 2))
    mean = (gained - lost) / n

    def excess(value: float) -> float:
        return abs(mean - value) - z * math.sqrt(tango_variance(lost, gained, n, value) / n)

    return _outward(excess, mean, -1.0), _outward(excess, mean, 1.0)


def score_interval(pairs: PairedScores, alpha: float = 0.05) -> tuple[float, float]:
    """Two-sided interval of level 1 - alpha for the mean difference over other questions of the kind.

    Clusters count as the units; with fewer than two there is nothing to estimate from and the interval
    is (-1, 1).
    """
    clusters = len(pairs.sums)
    if clusters < 2:
        return -1.0, 1.0
    table = np.stack([pairs.sums, pairs.sizes], axis=1)
    (sums, sizes), counts = _distinct(table)
    quantile = float(stdtrit(clusters - 1, 1 - alpha / 2))
    reach = _reach(sums, sizes, clusters)
    typical = pairs.items / clusters

    def excess(value: float) -> float:
        u = sums - value * sizes
        farthest = (math.copysign(reach, value - pairs.difference) - value) * typical
        mean = float(counts @ u) / clusters
        return abs(mean) - quantile * math.sqrt(_restricted_variance(u, counts / clusters, farthest) / clusters)

    return _outward(excess, pairs.difference, -reach), _outward(excess, pairs.difference, reach)


def _distinct(table: Floats) -> tuple[tuple[Floats, Floats], Floats]:
    rows, counts = np.unique(np.round(table, 12), axis=0, return_counts=True)
    return (rows[:, 0], rows[:, 1]), counts.astype(float)


def _reach(sums: Floats, sizes: Floats, clusters: int) -> float:
    """The farthest difference of a cluster reckoned with.

    The largest seen and, the fewer the clusters, the more of the way from there to 1; 1 where none was seen.
    """
    largest = min(float(np.max(np.abs(sums) / sizes)), 1.0)
    return largest + (1 - largest) * min(1.0, _FEW / clusters) if largest > 0 else 1.0


def _restricted_variance(u: Floats, weights: Floats, farthest: float) -> float:
    """Variance of `u` under the likeliest distribution with mean zero on the support of `u` and `farthest`.

    Probabilities are w / (1 + t u), with t the root of sum w u / (1 + t u), or 1 / -farthest where the root
    lies beyond: `farthest` then has the remaining probability (Owen 1988, with the support extended).
    """
    start = float(weights @ u)
    if start == 0.0:
        return float(weights @ (u * u))
    if farthest * start >= 0:  # at the very end of the support: all probability lies there
        return 0.0
    limit = -1.0 / farthest
    t = _tilt(u, weights, limit)
    p = weights / (1 + t * u)
    rest = max(1.0 - float(p.sum()), 0.0) if t == limit else 0.0
    return float(p @ (u * u)) + rest * farthest * farthest


def _tilt(u: Floats, weights: Floats, limit: float) -> float:
    """The root t of sum w u / (1 + t u) between 0 and `limit`, or `limit` where there is none in reach."""
    opposite = u[np.sign(u) == -np.sign(weights @ u)]
    pole = -1.0 / opposite[np.argmax(np.abs(opposite))] if len(opposite) else math.inf
    if abs(limit) < abs(pole):
        if float(weights @ (u / (1 + limit * u))) * limit >= 0:
            return limit
        high = limit
    else:
        high = pole
    low, t = 0.0, 0.0
    for _ in range(_STEPS):
        q = u / (1 + t * u)
        slope, value = -float(weights @ (q * q)), float(weights @ q)
        low, high = (t, high) if value * limit > 0 else (low, t)
        step = t - value / slope
        inside = min(low, high) < step < max(low, high)
        following = step if inside else (low + high) / 2
        if abs(following - t) <= _TOLERANCE * abs(following):
            return following
        t = following
    return t


def _outward(excess: Callable[[float], float], inside: float, limit: float) -> float:
    """Where `excess` turns positive on the way from `inside` to `limit`; `limit` where it never does."""
    if abs(limit - inside) < _TOLERANCE or excess(limit) <= 0:
        return limit
    low, high = inside, limit
    while abs(high - low) > _TOLERANCE:
        middle = (low + high) / 2
        low, high = (low, middle) if excess(middle) > 0 else (middle, high)
    return (low + high) / 2
