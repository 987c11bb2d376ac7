"""Group-sequential bounds: how sure a claim must be at each of several looks, so that all of them err as one would.

The error that may be spent up to a share t of the items is a function of t (K. Lan and D. DeMets, Biometrika 70 (1983)
659-663). The bounds follow by recursive integration (P. Armitage, C. McPherson and B. Rowe, JRSS A 132 (1969) 235-244):
the statistic z at a look, times the root of t, is a Brownian motion in t. An interval at the level of its look is a
repeated confidence interval (C. Jennison and B. Turnbull, JRSS B 51 (1989) 305-361): it may be read at any look,
whatever made one stop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

Floats = NDArray[np.float64]
Spending = Literal["power_2", "obrien_fleming"]
Times = tuple[float, ...]  # shares of the items at the looks, ascending, the last one 1
Bounds = tuple[float, ...]

WITHIN_ALPHA = 0.05  # one-sided, as in `verdicts`
BEYOND_ALPHA = 0.025
FUTILITY = 0.02
_FAR = 8.0  # standard deviations: what lies beyond has no probability
_NODES = 200
_LEAST_ALPHA = 1e-12


def spent(alpha: float, time: float, spending: Spending) -> float:
    """The error that may be spent up to a share `time` of the items.

    alpha t^2 (K. Kim and D. DeMets, Biometrika 74 (1987) 149-154), or the function of Lan and DeMets (1983) whose
    bounds are like those of O'Brien and Fleming: 2 - 2 Phi(Phi^-1(1 - alpha / 2) / sqrt(t)).
    """
    if spending == "power_2":
        return alpha * time**2
    return 2 * float(ndtr(ndtri(alpha / 2) / math.sqrt(time)))


class _Walk:
    """The Brownian motion of paths that have not been stopped: places, and the probability at each."""

    def __init__(self, drift: float = 0.0) -> None:
        self._drift, self._time = drift, 0.0
        self._places: Floats = np.zeros(1)
        self._mass: Floats = np.ones(1)

    def _z(self, place: float, time: float) -> Floats:
        step = time - self._time
        return np.asarray((place - self._places - self._drift * step) / math.sqrt(step))

    def above(self, place: float, time: float) -> float:
        """Probability of going on until `time` and then being above `place`."""
        return float(self._mass @ ndtr(-self._z(place, time)))

    def below(self, place: float, time: float) -> float:
        """Probability of going on until `time` and then being below `place`."""
        return float(self._mass @ ndtr(self._z(place, time)))

    def go_on(self, low: float, high: float, time: float) -> None:
        """Keep the paths that are between `low` and `high` at `time`."""
        reach, centre = _FAR * math.sqrt(time), self._drift * time
        low, high = max(low, centre - reach), min(high, centre + reach)
        nodes, weights = _quadrature()
        half = max(high - low, 0.0) / 2
        places = low + half * (1 + nodes)
        step = time - self._time
        z = (places[np.newaxis] - self._places[:, np.newaxis] - self._drift * step) / math.sqrt(step)
        density = self._mass @ np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi * step)
        self._places, self._mass, self._time = places, density * weights * half, time


@lru_cache(maxsize=1)
def _quadrature() -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return nodes, weights


@lru_cache(maxsize=4096)
def bounds(times: Times, alpha: float, spending: Spending) -> Bounds:
    """The one-sided bounds of z at the looks: one is crossed with probability `alpha` where nothing is to be found."""
    walk, found, before = _Walk(), list[float](), 0.0
    for time in times:
        total = spent(alpha, time, spending)
        increment, root = total - before, math.sqrt(time)
        place = _FAR * root
        # where even the farthest bound would spend more than that, it stays the bound
        if walk.above(place, time) < increment:
            place = float(brentq(lambda x, t, p: walk.above(x, t) - p, -place, place, args=(time, increment)))
        found.append(place / root)
        walk.go_on(-math.inf, place, time)
        before = total
    return tuple(found)


def exits(times: Times, upper: Bounds, lower: Bounds, drift: float) -> tuple[list[float], list[float]]:
    """Probabilities of crossing the upper and the lower bound first, at each look; `drift` is the mean of z at 1."""
    walk, up, down = _Walk(drift), list[float](), list[float]()
    for time, high, low in zip(times, upper, lower, strict=True):
        root = math.sqrt(time)
        up.append(walk.above(high * root, time))
        down.append(walk.below(low * root, time))
        walk.go_on(low * root, high * root, time)
    return up, down


def repeated_p(z: Sequence[float], times: Times, spending: Spending) -> float:
    """One-sided p-value that may be read at any look: the least error at which one of the looks was a claim.

    `z` has the statistics at the looks so far, -inf where nothing was looked at. 1 where more than 1/2 were needed.
    """
    upto = times[: len(z)]

    def short(log_alpha: float) -> float:
        return max(each - bound for each, bound in zip(z, bounds(upto, math.exp(log_alpha), spending), strict=True))

    least, most = math.log(_LEAST_ALPHA), math.log(0.5)
    if short(most) < 0:
        return 1.0
    return _LEAST_ALPHA if short(least) >= 0 else math.exp(float(brentq(short, least, most, xtol=1e-7)))


def stagewise(times: Times, upper: Bounds, lower: Bounds, z: float, alpha: float = 0.05) -> tuple[float, float, float]:
    """(low end, median, high end) for the drift, from where and with which `z` one stopped.

    The bounds are those up to the look of the stop; `times` may be longer. Outcomes are ordered by stages: a claim of
    an earlier look is farther out (A. Tsiatis, G. Rosner and C. Mehta, Biometrics 40 (1984) 797-803). The median is
    median-unbiased, and the interval has the level 1 - alpha.
    """
    upto = times[: len(upper)]

    def at_least(drift: float) -> float:
        """Probability of an outcome at least as high."""
        return sum(exits(upto, (*upper[:-1], z), lower, drift)[0])

    centre, reach = z / math.sqrt(upto[-1]), 2 * _FAR / math.sqrt(upto[-1])
    low, median, high = (
        float(brentq(lambda drift, p: at_least(drift) - p, centre - reach, centre + reach, args=(p,), xtol=1e-6))
        for p in (alpha / 2, 0.5, 1 - alpha / 2)
    )
    return low, median, high


@dataclass(frozen=True, slots=True)
class StopRule:
    """When a comparison is looked at, and what stops it; fixed before the first answer.

    `looks` are numbers of items, the last one all of them. `margin` is a fraction; with `recovery`, the share of the
    baseline's score that must be kept, it is what the measured score makes of it. `family` is the number of comparisons
    whose losses are shown together: a loss beyond the margin stops only where it stands in any such family. `futility`
    is the chance of a claim at the end below which asking on is in vain.
    """

    looks: tuple[int, ...]
    spending: Spending
    margin: float
    recovery: float | None = None
    family: int = 1
    futility: float = FUTILITY

    @property
    def items(self) -> int:
        """All items of the exam."""
        return self.looks[-1]

    @property
    def times(self) -> Times:
        """The shares of the items at the looks."""
        return tuple(look / self.items for look in self.looks)

    @property
    def within(self) -> Bounds:
        """The bounds of z at -margin that show a loss within it."""
        return bounds(self.times, WITHIN_ALPHA, self.spending)

    @property
    def beyond(self) -> Bounds:
        """The bounds of -z at -margin that show a loss beyond it and stop."""
        return bounds(self.times, BEYOND_ALPHA / self.family, self.spending)

    def cut(self, items: int) -> CutRule:
        """The rule where time ends after so many of the items, whatever they show: the last look is there."""
        values = {field.name: getattr(self, field.name) for field in fields(StopRule)}
        return CutRule(**values | {"looks": (*(look for look in self.looks if look < items), items)}, of=self.items)


@dataclass(frozen=True, slots=True)
class CutRule(StopRule):
    """A rule whose last look comes before all `of` items are asked; its error is spent as far as its looks go."""

    of: int = 0

    @property
    def items(self) -> int:
        """All items of the exam."""
        return self.of


@dataclass(frozen=True, slots=True)
class Look:
    """One look of a rule, by its index from 0; `before` has the signed z of "no difference" at those before it.

    NaN where nothing was looked at; empty where none is known.
    """

    rule: StopRule
    index: int
    before: tuple[float, ...] = ()

    @property
    def last(self) -> bool:
        """True where all items are asked."""
        return self.rule.looks[self.index] == self.rule.items

    def nominal(self, alpha: float) -> float:
        """`alpha` of a two-sided interval here, such that those of all looks together have the level 1 - `alpha`."""
        bound = bounds(self.rule.times, alpha / 2, self.rule.spending)[self.index]
        return 2 * float(ndtr(-bound))

    def p_value(self, signed: float) -> float:
        """Two-sided repeated p-value from the signed z of this look and of those before it, on the side of this one."""
        side = math.copysign(1.0, signed)
        signs = [*(self.before or (math.nan,) * self.index), signed]
        z = [-math.inf if math.isnan(each) else side * each for each in signs]
        return min(1.0, 2 * repeated_p(z, self.rule.times, self.rule.spending))
