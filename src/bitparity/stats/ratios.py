"""Ratio of two sums over independent units, with an interval: a mean a token, or how many times one mean is another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from bitparity.stats.arrays import Floats
from bitparity.stats.intervals import unskewed

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
    square = float(residuals @ residuals)
    error = math.sqrt(square * units / (units - 1)) / total
    if not error > 0:
        return Ratio(value, 0.0, value, value)
    quantile = float(stdtrit(units - 1, 1 - ALPHA / 2))
    skew = float(np.sum(residuals**3)) / math.pow(square, 1.5)
    down, up = (max(quantile, side * unskewed(side * quantile, skew)) for side in (1, -1))
    return Ratio(value, error, value - down * error, value + up * error)


def times_as_much(above: Floats, below: Floats, unit: NDArray[np.intp] | None = None) -> Ratio | None:
    """The ratio of two positive means: as `ratio_of_sums`, but on the scale of the logarithm."""
    found = ratio_of_sums(above, below, unit)
    if found is None or not found.value > 0 or found.error is None or found.low is None or found.high is None:
        return found
    down, up = ((found.value - found.low) / found.value, (found.high - found.value) / found.value)
    return Ratio(found.value, found.error, found.value * math.exp(-down), found.value * math.exp(min(up, 700.0)))
