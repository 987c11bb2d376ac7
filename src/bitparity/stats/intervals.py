"""Intervals for one variant's mean score, for a rerun of the same questions, and the BCa bootstrap."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri, stdtrit

from bitparity.stats.arrays import Floats, PairedScores, cluster_codes, effective_degrees, is_binary, score_matrix

_CHUNK = 1 << 16  # draws held at once: few enough for the cache
_TIE = 1e-12  # differences of means closer than this are equal


def wilson_interval(mean: float, trials: float, quantile: float) -> tuple[float, float]:
    """Wilson's score interval for a proportion (E. Wilson, JASA 22 (1927) 209-212); `trials` may be fractional."""
    square = quantile * quantile
    centre = (mean + square / (2 * trials)) / (1 + square / trials)
    spread = mean * (1 - mean) / trials + square / (4 * trials * trials)
    half = quantile * math.sqrt(spread) / (1 + square / trials)
    return min(mean, max(0.0, centre - half)), max(mean, min(1.0, centre + half))


def mean_interval(scores: ArrayLike, groups: Sequence[str] | None = None, alpha: float = 0.05) -> tuple[float, float]:
    """Interval of level 1 - alpha for one variant's mean score over other questions of the kind, in [0, 1].

    Wilson's for one binary sample an item; otherwise Wilson's with the number of trials that gives the
    cluster-robust standard error and Student's quantile (E. Korn and B. Graubard, Survey Methodology 24 (1998)
    193-201). `scores` has shape (items,) or (items, samples). Raises ValueError for scores outside [0, 1].
    """
    matrix = score_matrix(scores)
    means = matrix.mean(axis=1)
    cluster = cluster_codes(groups, len(means))
    sizes = np.bincount(cluster)
    mean = float(means.mean())
    if matrix.shape[1] == 1 and len(sizes) == len(means) and is_binary(matrix):
        return wilson_interval(mean, len(means), float(ndtri(1 - alpha / 2)))
    if len(sizes) < 2:
        return 0.0, 1.0
    residuals = np.bincount(cluster, weights=means) - sizes * mean
    variance = float(residuals @ residuals) / len(matrix) ** 2 * len(sizes) / (len(sizes) - 1)
    # independent trials with the same standard error; the clusters where all scores are 0 or 1
    trials = float(len(sizes))
    if mean not in (0.0, 1.0):
        # no more than the samples where the clusters are all alike or binary: no finite data show certainty
        trials = matrix.size if variance < _TIE**2 else mean * (1 - mean) / variance
        trials = min(trials, matrix.size) if is_binary(matrix) else trials
    quantile = float(stdtrit(effective_degrees(means - mean, cluster), 1 - alpha / 2))
    return wilson_interval(mean, trials, quantile)


def rerun_interval(pairs: PairedScores, alpha: float = 0.05) -> tuple[float, float] | None:
    """Interval for the difference that reruns of these very questions would give; None where it cannot be known.

    SE^2 = n^-2 sum (s2_A / k + s2_B / k) with each item's variance over its k samples (E. Miller, arXiv
    2411.00640, section 3.2), Student's quantile with Satterthwaite's degrees of freedom (Biometrics Bulletin 2
    (1946) 110-114). None for one sample an item, or where no item varies.
    """
    if pairs.samples < 2:
        return None
    runs = [run for run in (pairs.baseline, pairs.second) if run is not None]
    shares = [*((run, 1 / len(runs) ** 2) for run in runs), (pairs.candidate, 1.0)]
    variances = np.concatenate([run.var(axis=1, ddof=1) * share for run, share in shares]) / pairs.samples
    total = float(variances.sum())
    if total == 0:
        return None
    degrees = total**2 / (float(variances @ variances) / (pairs.samples - 1))
    half = float(stdtrit(degrees, 1 - alpha / 2)) * math.sqrt(total) / pairs.items
    return max(-1.0, pairs.difference - half), min(1.0, pairs.difference + half)


def skewness_adjusted_intervals(pairs: PairedScores, alphas: Sequence[float]) -> list[tuple[float, float]] | None:
    """Student's intervals of levels 1 - alpha for the mean difference, adjusted for skewness outwards.

    Student's statistic t, skewed as the data are, is carried by P. Hall's monotone cubic (JRSS B 54 (1992) 221-228)
    t + g t^2 / 3 + g^2 t^3 / 27 + g / 6 (with g the skewness over the root of the number of clusters) to one that is
    not. On each side the bound is the farther of its inverse and plain Student's: an estimated skewness may widen
    an interval, not narrow it. None where no two clusters differ.
    """
    clusters = len(pairs.sums)
    residuals = pairs.sums - pairs.difference * pairs.sizes
    square = float(residuals @ residuals)
    if clusters < 2 or square < _TIE**2:
        return None
    error, difference = math.sqrt(square * clusters / (clusters - 1)) / pairs.items, pairs.difference
    reaches = [skewed_reach(residuals, float(stdtrit(pairs.degrees, 1 - alpha / 2))) for alpha in alphas]
    return [(max(-1.0, difference - below * error), min(1.0, difference + above * error)) for below, above in reaches]


def skewed_reach(residuals: Floats, quantile: float) -> tuple[float, float]:
    """Standard errors (below, above) to the bounds that Student's quantile and the residuals' skewness give."""
    skew = float(np.sum(residuals**3)) / math.pow(float(residuals @ residuals), 1.5)  # over the root of their number
    below, above = (max(quantile, side * unskewed(side * quantile, skew)) for side in (1, -1))
    return below, above


def unskewed(quantile: float, skew: float) -> float:
    """The inverse of Hall's cubic at `quantile`."""
    if abs(skew) < _TIE:
        return quantile
    return 3 / skew * (math.cbrt(1 + skew * (quantile - skew / 6)) - 1)


def bca_intervals(
    pairs: PairedScores, alphas: Sequence[float], seed: int, resamples: int
) -> list[tuple[float, float]] | None:
    """BCa bootstrap intervals of levels 1 - alpha for the mean difference, from the same resamples of clusters.

    B. Efron, JASA 82 (1987) 171-185, section 4: bias from the share of resamples below the estimate (ties by
    half), acceleration from the jackknife. None where no two clusters differ: there is nothing to resample.
    """
    residuals = pairs.sums - pairs.difference * pairs.sizes
    if not np.any(np.abs(residuals) > _TIE):
        return None
    draws = _resampled_means(pairs, np.random.default_rng(seed), resamples)
    below = float(np.mean(draws < pairs.difference - _TIE) + np.mean(draws <= pairs.difference + _TIE)) / 2
    bias = float(ndtri(min(max(below, 0.5 / resamples), 1 - 0.5 / resamples)))
    # the jackknife: the mean without each cluster in turn
    left_out = (pairs.sums.sum() - pairs.sums) / (pairs.items - pairs.sizes)
    bend = left_out.mean() - left_out
    acceleration = float(np.sum(bend**3)) / (6 * math.pow(float(bend @ bend), 1.5))
    intervals = []
    for alpha in alphas:
        z = bias + ndtri(np.array([alpha / 2, 1 - alpha / 2]))
        low, high = np.quantile(draws, ndtr(bias + z / (1 - acceleration * z)))
        intervals.append((float(low), float(high)))
    return intervals


def _resampled_means(pairs: PairedScores, rng: np.random.Generator, resamples: int) -> Floats:
    """Means of the difference in `resamples` samples of clusters drawn with replacement."""
    table = np.round(np.stack([pairs.sums, pairs.sizes], axis=1), 12)
    rows, counts = np.unique(table, axis=0, return_counts=True)
    clusters = len(pairs.sums)
    if len(rows) * 4 <= clusters:
        drawn = rng.multinomial(clusters, counts / clusters, resamples)
        return np.asarray((drawn @ rows[:, 0]) / (drawn @ rows[:, 1]))
    sums, sizes = np.repeat(rows, counts, axis=0).T.copy()
    step = max(1, _CHUNK // clusters)
    drawn_values = np.empty((step, clusters))  # one buffer: memory fresh at each step costs more than the draws
    parts = []
    for start in range(0, resamples, step):
        picked = rng.integers(0, clusters, (min(step, resamples - start), clusters))
        values = drawn_values[: len(picked)]
        total = np.take(sizes, picked, out=values, mode="clip").sum(axis=1) if pairs.clustered else clusters
        parts.append(np.take(sums, picked, out=values, mode="clip").sum(axis=1) / total)
    return np.concatenate(parts)
