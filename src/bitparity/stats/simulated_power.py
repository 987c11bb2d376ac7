"""Power of comparisons of few groups of items, by simulated studies with fixed random numbers.

A few dozen groups of unequal sizes, of which only some hold a change, follow no normal formula: the degrees of freedom
are estimated, the interval leans towards the longer tail, and the test counts in whole steps. So the studies are drawn,
and what `paired.difference_intervals` and `significance.sign_flip_test` would say of each is computed for all of them
at once. The sign-flip test is taken by the normal distribution, corrected for its steps and its kurtosis (Edgeworth).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from bitparity.stats.arrays import Floats

STUDIES = 4000  # the standard error of a power of 80 % is 0.6 points; of more items than 3000 fewer studies
MOST_DRAWN, LEAST_STUDIES = 12_000_000, 500  # items of all studies
SEED = 20_240_917
_SPARSE, _FEW = 1 / 3, 15  # as `paired.DENSE` and `paired.ENOUGH_FOR_STUDENT`
_HALVINGS = 24

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Studies:
    """Simulated studies of one design: the groups' summed differences, shape (studies, groups), and their sizes.

    `degrees` are the degrees of freedom of each study's variance, `step` is what all sums are multiples of.
    """

    sums: Floats
    sizes: Floats
    degrees: Floats
    step: float

    def loss_shown(self, alpha: float) -> Flags:
        """The studies that show a loss, by interval and test."""
        square, fourth = (self.sums**2).sum(axis=1), (self.sums**4).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            z = (np.abs(self.sums.sum(axis=1)) - self.step) / np.sqrt(square)
            bend = fourth / square**2 / 12 * (z**3 - 3 * z) * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
        return np.asarray(self._clear(0.0, alpha, -1) & (ndtr(-z) - bend < alpha / 2))

    def within(self, margin: float, alpha: float) -> Flags:
        """The studies that rule out a loss of the margin."""
        return self._clear(-margin, 2 * alpha, 1)

    def _clear(self, value: float, alpha: float, side: int) -> Flags:
        """The studies whose interval of level 1 - alpha lies above a value (side 1), or below it (-1)."""
        items, groups = float(self.sizes.sum()), len(self.sizes)
        mean = self.sums.sum(axis=1) / items
        residuals = self.sums - mean[:, np.newaxis] * self.sizes
        square, third = (residuals**2).sum(axis=1), (residuals**3).sum(axis=1)
        quantile = stdtrit(self.degrees, 1 - alpha / 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic = side * (mean - value) * items / np.sqrt(square * groups / (groups - 1))
            skew = third / square**1.5
            unskewed = side * 3 / skew * (np.cbrt(1 + skew * (side * quantile - skew / 6)) - 1)
        needed = np.where(np.abs(skew) > 1e-9, np.fmax(quantile, unskewed), quantile)
        differing = np.count_nonzero(self.sums, axis=1)
        few = differing < _FEW
        clear = np.asarray((statistic > needed) | few)
        towards = np.where(third < 0, 1, -1) == side  # the longer tail
        scored = np.flatnonzero(clear & (few | (towards & (differing < _SPARSE * groups))))
        clear[scored] = self._beyond_score_interval(scored, mean[scored], value, quantile[scored], side)
        return clear

    def _beyond_score_interval(self, rows: NDArray[Any], mean: Floats, value: float, q: Floats, side: int) -> Flags:
        """Those of the `rows` whose `score_interval` leaves out the value on this side."""
        sums, items, groups = self.sums[rows], float(self.sizes.sum()), len(self.sizes)
        differing = np.count_nonzero(sums, axis=1)
        largest = np.minimum((np.abs(sums) / self.sizes).max(axis=1, initial=0.0), 1.0)
        reach = largest + (1 - largest) * np.minimum(2.0 / np.maximum(differing, 1), 1.0)
        reach = np.where(differing == 0, 1.0, reach)
        u = side * (sums - value * self.sizes)  # mirrored where the mean is below: only positive means are left
        farthest = -(reach + side * value) * items / groups
        start = u.mean(axis=1)
        variance, third = _restricted_moments(u, farthest)
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic = start * np.sqrt(groups / variance)
            shift = third / (variance * np.sqrt(variance * groups)) * (q**2 - 1) / 6
        return np.asarray((start > 0) & ((farthest >= 0) | (statistic - np.maximum(shift, 0.0) > q)))


def _restricted_moments(u: Floats, farthest: Floats) -> tuple[Floats, Floats]:
    """`score_interval.restricted_moments` of each row, for positive means."""
    limit = -1 / np.minimum(farthest, -1e-9)
    with np.errstate(divide="ignore"):
        pole = np.where(u.min(axis=1) < 0, -1 / u.min(axis=1), np.inf)
    low, high = np.zeros(len(u)), np.minimum(limit, pole)
    for _ in range(_HALVINGS):  # the sum falls from the positive mean on
        middle = (low + high) / 2
        positive = (u / (1 + middle[:, np.newaxis] * u)).mean(axis=1) > 0
        low, high = np.where(positive, middle, low), np.where(positive, high, middle)
    weights = 1 / (1 + low[:, np.newaxis] * u) / u.shape[1]
    rest = np.maximum(1 - weights.sum(axis=1), 0.0) * (low >= limit * (1 - 1e-6))
    return tuple((weights * u**power).sum(axis=1) + rest * farthest**power for power in (2, 3))


def group_sizes(sizes: tuple[int, ...], items: int) -> tuple[int, ...]:
    """The groups of so many items: the first of them in a fixed order, over again where there are more items."""
    order = np.random.default_rng(SEED).permutation(sizes).tolist()
    found, left = list[int](), items
    while left > 0:
        found.append(min(order[len(found) % len(order)], left))
        left -= found[-1]
    return tuple(found)


@lru_cache(maxsize=1)
def _chances(sizes: tuple[int, ...], correlation: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Uniform numbers of each study's items, equal within a group as often as its correlation says, and others."""
    rng, items = np.random.default_rng(SEED), sum(sizes)
    shape = min(STUDIES, max(MOST_DRAWN // items, LEAST_STUDIES)), items
    own, other = (rng.random(shape, dtype=np.float32) for _ in range(2))
    common = np.repeat(rng.random((shape[0], len(sizes)), dtype=np.float32), sizes, axis=1)
    return np.where(other < math.sqrt(correlation), common, own), rng.random(shape, dtype=np.float32)


@lru_cache(maxsize=4)
def studies(
    sizes: tuple[int, ...], correlation: float, changed: float, noise: float, samples: int, loss: float
) -> Studies:
    """Studies in which a share of the items `changed` for good, so many more lost as the `loss` says.

    Noise lies on items that are right half the time: two samples of one differ in half of the cases.
    """
    chance, other = _chances(sizes, correlation)
    d = (chance > 1 - (changed - loss) / 2).astype(float) - (chance < (changed + loss) / 2)
    if noise and changed < 1:  # where all have changed, none is left that wavers
        wavers = np.nonzero((d == 0) & (other < 2 * noise / (1 - changed)))
        right = np.random.default_rng(SEED + 1).binomial(samples, 0.5, (2, len(wavers[0])))
        d[wavers] = (right[1] - right[0]) / samples
    counts = np.array(sizes)
    sums = np.add.reduceat(d, np.cumsum(counts) - counts, axis=1)
    return Studies(sums, counts.astype(float), _degrees(d, sums, counts), 1 / samples)


def _degrees(d: Floats, sums: Floats, sizes: NDArray[Any]) -> Floats:
    """`arrays.effective_degrees` of each study."""
    if sizes.min() == sizes.max():
        return np.full(len(d), len(sizes) - 1.0)
    mean = d.mean(axis=1, keepdims=True)
    square = ((d - mean) ** 2).sum(axis=1)
    within = ((sums - mean * sizes) ** 2).sum(axis=1) - square
    pairs = float(sizes @ (sizes - 1))
    correlation = np.clip(within / pairs / np.maximum(square, 1e-300) * d.shape[1], 0.0, 1.0)
    loads = sizes * (1 + correlation[:, np.newaxis] * (sizes - 1))
    return cast(Floats, np.maximum(loads.sum(axis=1) ** 2 / (loads**2).sum(axis=1) - 1, 1.0))
