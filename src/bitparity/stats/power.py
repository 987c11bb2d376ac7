"""Power: which loss a comparison could detect, which margin it could prove, and what it would need.

Fractions throughout; tests at ALPHA, two-sided for a loss and one-sided for a margin, as in `verdicts`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import cast

import numpy as np
from scipy.special import bdtrik, betainc, gammaln, ndtr, ndtri, stdtrit

from bitparity.stats.arrays import Floats
from bitparity.stats.score_interval import tango_moments
from bitparity.stats.simulated_power import Studies, group_sizes, studies
from bitparity.stats.verdicts import untraced_loss

ALPHA = 0.05
POWER = 0.8  # with which a loss is to be shown, or a margin proved
_EXACT_FLIPS = 60.0
# items in groups, and in those of unequal sizes, of which also so few: they follow no normal formula
FEW_ITEMS, FEW_UNEQUAL, FEW_GROUPS, MOST_SIMULATED = 1000, 3000, 300, 24_000
_LEAST_CHANCE = 1e-4  # of a simulated claim, for its quantile
_NEWTON_STEPS = 4
_NEAR = 0.01  # of a quantile: 0.3 points of a power of 80 %


def mcnemar_power(items: int, flip_rate: float, loss: float) -> float:
    """Probability that the exact McNemar test finds a true `loss` among `items` pairs of which `flip_rate` flip.

    Exact: summed over the number of flips, which is binomial (S. Duffy, Statistics in Medicine 3 (1984) 367-371).
    Raises ValueError for a loss larger than the flip rate: that many items cannot be lost.
    """
    if not 0 <= loss <= flip_rate <= 1:
        raise ValueError(f"loss {loss} and flip rate {flip_rate}: 0 <= loss <= flip rate <= 1 must hold")
    if flip_rate == 0:
        return 0.0
    flips, mass = _likely_counts(items, flip_rate)
    most = _critical_gained(flips)
    gained = (flip_rate - loss) / (2 * flip_rate)
    return float(mass @ np.where(most >= 0, _binomial_cdf(np.maximum(most, 0), flips, gained), 0.0))


def _likely_counts(trials: int, rate: float) -> tuple[Floats, Floats]:
    """Counts of a binomial and their probabilities, without tails of less than about 1e-10."""
    spread = 7 * math.sqrt(trials * rate * (1 - rate)) + 9
    counts = np.arange(max(0, math.floor(trials * rate - spread)), min(trials, math.ceil(trials * rate + spread)) + 1.0)
    return counts, _binomial_mass(counts, trials, rate)


def _binomial_mass(counts: Floats, trials: Floats | float, rate: float) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = gammaln(trials + 1.0) - gammaln(counts + 1) - gammaln(np.maximum(trials - counts, 0) + 1.0)
        up = np.where(counts > 0, counts * np.log(rate), 0.0)
        down = np.where(trials > counts, (trials - counts) * np.log1p(-rate), 0.0)
    return np.where(counts <= trials, np.exp(logs + up + down), 0.0)


def _binomial_cdf(counts: Floats, trials: Floats, rate: float) -> Floats:
    """P(X <= counts) for counts of 0 or more, as an incomplete beta function: `bdtr` is off by up to 3e-12."""
    inside = counts < trials
    return np.where(inside, betainc(np.where(inside, trials - counts, 1.0), counts + 1, 1 - rate), 1.0)


def _critical_gained(flips: Floats) -> Floats:
    """For each number of flips the most gained items at which the exact two-sided p is still below ALPHA; -1: none."""
    guess = np.floor(np.nan_to_num(bdtrik(ALPHA / 2, flips, 0.5), nan=-1.0)) + 1
    # the inverse may be off by one or two
    for _ in range(3):
        guess -= (guess >= 0) & (2 * _binomial_cdf(np.maximum(guess, 0), flips, 0.5) >= ALPHA)
    return cast(Floats, guess)


def margin_power(items: int, flip_rate: float, margin: float) -> float:
    """Probability of showing a loss below `margin` where the variants are equally good and `flip_rate` flip.

    The test is the lower bound of Tango's interval of level 1 - 2 ALPHA: exact by enumeration for few flips, else
    the normal approximation with the restricted variance at the margin (J. Liu et al., Statistics in Medicine
    21 (2002) 231-245, equation 8).
    """
    if items < 2 or margin < untraced_loss(items, ALPHA):
        return 0.0
    quantile = float(ndtri(1 - ALPHA))
    if items * flip_rate <= _EXACT_FLIPS:
        return _exact_margin_power(items, flip_rate, margin, quantile)
    expected = items * flip_rate / 2
    null_sd = math.sqrt(tango_moments(expected, expected, items, -margin)[0])
    shift = margin * math.sqrt(items) - quantile * null_sd
    return float(ndtr(shift / math.sqrt(flip_rate)))


def _exact_margin_power(items: int, flip_rate: float, margin: float, quantile: float) -> float:
    flips, mass = _likely_counts(items, flip_rate)
    total, gained = np.meshgrid(flips, np.arange(flips[-1] + 1), indexing="ij")
    given = _binomial_mass(gained, total, 0.5)
    lost = total - gained
    b = -total + (2 * items - gained + lost) * -margin
    c = lost * margin * (1 + margin)
    lost_rate = (np.sqrt(np.maximum(b * b - 8 * items * c, 0)) - b) / (4 * items)
    variance = np.maximum(2 * lost_rate - margin * (1 + margin), 0)
    shown = (gained - lost) / items + margin > quantile * np.sqrt(variance / items)
    return float(mass @ (given * shown).sum(axis=1))


@lru_cache(maxsize=4096)
def detectable_loss(items: int, flip_rate: float) -> float | None:
    """Smallest true loss that one binary sample an item shows with the POWER; None where even the largest is not."""
    if mcnemar_power(items, flip_rate, flip_rate) < POWER:
        return None
    return _smallest(lambda loss: mcnemar_power(items, flip_rate, loss) >= POWER, flip_rate)


@lru_cache(maxsize=4096)
def provable_margin(items: int, flip_rate: float) -> float:
    """Smallest margin that equally good variants prove with the POWER, one binary sample an item; at most 1."""
    return _smallest(lambda margin: margin_power(items, flip_rate, margin) >= POWER, 1.0)


def detectable_loss_normal(se: float, clusters: float) -> float:
    """Smallest true loss shown with the POWER by a test with standard error `se`: (t_{1-ALPHA/2} + z_power) se."""
    return float(stdtrit(clusters - 1, 1 - ALPHA / 2) + ndtri(POWER)) * se


def provable_margin_normal(se: float, clusters: float) -> float:
    """Smallest margin that equally good variants prove with the POWER: (t_{1-ALPHA} + z_power) se."""
    return float(stdtrit(clusters - 1, 1 - ALPHA) + ndtri(POWER)) * se


@dataclass(frozen=True, slots=True)
class Design:
    """A planned comparison of variants of which one sample an item flips `flip_rate`, if they are equally good.

    `noise_flip_rate` of it would flip between two runs of one variant. `samples` counts independent ones an item:
    greedy repeats are 1. `sizes` are those of the groups of items that share a problem (those of the whole benchmark
    where fewer items are asked), empty for none; within a group differences correlate by `correlation`. Raises
    ValueError where the noise exceeds the flips.
    """

    items: int
    flip_rate: float
    noise_flip_rate: float = 0.0
    samples: int = 1
    sizes: tuple[int, ...] = ()
    correlation: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.noise_flip_rate <= self.flip_rate:
            raise ValueError(
                f"noise flip rate {self.noise_flip_rate} must lie between 0 and the flip rate {self.flip_rate}"
            )

    @property
    def effect(self) -> float:
        """How many times the groups multiply the variance (the design effect)."""
        return sum(self._loads()) / sum(self.sizes) if self.sizes else 1.0

    @property
    def units(self) -> float:
        """Independent units: items, or as many equal groups as tell what these do (Satterthwaite 1946)."""
        loads = self._loads()
        return self._groups * sum(loads) ** 2 / sum(load**2 for load in loads) / len(loads) if loads else self.items

    @property
    def _groups(self) -> float:
        """The number of groups, or of items without groups."""
        return self.items * len(self.sizes) / sum(self.sizes) if self.sizes else self.items

    def _loads(self) -> list[float]:
        return [size * (1 + self.correlation * (size - 1)) for size in self.sizes]

    def _variance(self, loss: float) -> tuple[float, float]:
        """Variance of an item's difference at a true loss: what truly changes, and the noise.

        Averaging over samples shrinks the noise only (Miller, arXiv 2411.00640, section 3.2). A loss takes items for
        good: at least so many change, and the larger the loss, the larger the variance.
        """
        if self.samples == 1:
            return max(self.flip_rate, loss), 0.0
        return max(self.flip_rate - self.noise_flip_rate, loss), self.noise_flip_rate / self.samples

    def standard_error(self, loss: float = 0.0) -> float:
        """Standard error of the difference at a true loss. Groups share what truly changes, and no noise of samples."""
        changed, noise = self._variance(loss)
        return math.sqrt((max(changed - loss**2, 0.0) * self.effect + noise) / self.items)

    @property
    def simulated(self) -> bool:
        """True where the power is that of simulated studies: groups of items, too few for a normal formula."""
        return bool(self.sizes) and self.items <= self.few and self.units > 1

    @property
    def few(self) -> int:
        """The most items of which studies are simulated."""
        least = FEW_ITEMS if len(set(self.sizes)) < 2 else FEW_UNEQUAL
        return min(MOST_SIMULATED, max(least, FEW_GROUPS * sum(self.sizes) // max(len(self.sizes), 1)))

    def _studies(self, loss: float) -> Studies:
        noise = self.noise_flip_rate if self.samples > 1 else 0.0
        changed, sizes = max(self.flip_rate - noise, loss), group_sizes(self.sizes, self.items)
        return studies(sizes, self.correlation, changed, noise, self.samples, loss)

    def loss_power(self, loss: float) -> float:
        """Probability that a true loss is shown: simulated for few items in groups, else `loss_formula`."""
        if self.simulated:
            return float(self._studies(loss).loss_shown(ALPHA).mean())
        return _corrected(self.loss_formula(loss), _lacking(self)[0])

    def loss_formula(self, loss: float) -> float:
        """Student's statistic of a skewed mean.

        What is compared with 0 is mean + t s / sqrt(n), whose variance follows from those of mean and s and their
        covariance, by the third and fourth moment of an item's difference.
        """
        changed, noise = self._variance(loss)
        se, count = self.standard_error(loss), self.items / self.effect
        if se == 0 or self.units <= 1:
            return 0.0
        sigma = se * math.sqrt(count)
        quantile = float(stdtrit(self.units - 1, 1 - ALPHA / 2))
        third = -loss + 3 * loss * (changed + noise) - 2 * loss**3
        fourth = changed + 3 * noise**2 + 6 * changed * noise
        spread = 1 + quantile * third / sigma**3 / math.sqrt(count) + quantile**2 * (fourth / sigma**4 - 1) / 4 / count
        return float(ndtr((loss - quantile * se) / (se * math.sqrt(max(spread, 0.25)))))

    def margin_power(self, margin: float) -> float:
        """Probability that equally good variants are shown to lie within `margin`, as `loss_power`."""
        if self.simulated and margin >= untraced_loss(self._groups, ALPHA):
            return float(self._studies(0.0).within(margin, ALPHA).mean())
        return _corrected(self.margin_formula(margin), _lacking(self)[1])

    def margin_formula(self, margin: float) -> float:
        """The mean of two probabilities of showing that equally good variants lie within `margin`.

        Student's bound, and a score bound with the variance at the margin as in Tango's interval. The interval takes
        the latter where the sample is skewed towards a loss, as half of the samples are.
        """
        if self.units <= 1 or margin < untraced_loss(self._groups, ALPHA):
            return 0.0
        changed, noise = self._variance(0.0)
        se, half = self.standard_error(), self.items * changed / 2
        at_margin = tango_moments(half, half, self.items, -margin)[0]
        at_margin = math.sqrt((at_margin * self.effect + noise) / self.items)
        quantile = float(stdtrit(self.units - 1, 1 - ALPHA))
        return sum(float(ndtr((margin - quantile * each) / se)) for each in (se, at_margin)) / 2 if se else 1.0

    def detectable(self) -> float | None:
        """Smallest true loss shown with the POWER; None where even the largest is not."""
        if self.samples == 1 and not self.sizes:
            return detectable_loss(self.items, self.flip_rate)
        most = self.flip_rate if self.samples == 1 else 1.0
        return self._smallest_with(self.loss_power, (0.0, most), 1 - ALPHA / 2)

    def provable(self) -> float | None:
        """Smallest margin that equally good variants prove with the POWER; None where there is none."""
        if self.samples == 1 and not self.sizes:
            return provable_margin(self.items, self.flip_rate)
        within = untraced_loss(self._groups, ALPHA), 1.0
        return self._smallest_with(self.margin_power, within, 1 - ALPHA)

    def _smallest_with(
        self, chance: Callable[[float], float], within: tuple[float, float], level: float
    ) -> float | None:
        """The smallest value `within` whose chance of a claim, at this one-sided level, is the power; None for none."""
        low, high = within
        if self.simulated:
            # a simulation is dear, and its quantile grows by nearly one for each standard error: Newton's method
            error = self.standard_error()
            found = min(high, max(low, float(stdtrit(self.units - 1, level) + ndtri(POWER)) * error))
            for _ in range(_NEWTON_STEPS):
                missing = _quantile(POWER) - _quantile(chance(found))
                if abs(missing) < _NEAR:
                    return found
                found = min(max(found + missing * error, low), high)
            return found if found < high or chance(high) >= POWER else None
        found = _smallest(lambda value: chance(value) >= POWER, high)
        return found if chance(found) >= POWER else None


@lru_cache(maxsize=256)
def _lacking(design: Design) -> tuple[float, float]:
    """Corrections of the formulas of loss and margin by simulated studies, near the POWER, as quantiles of it.

    Of more items in groups than are simulated: what they lack with so many, less by the root of the items, as skewness
    does. 0 where nothing is simulated.
    """
    few = replace(design, items=min(design.items, design.few))
    if not few.simulated:
        return 0.0, 0.0
    ratio = math.sqrt(few.items / design.items)

    def lacks(value: float | None, simulated: Callable[[float], float], formula: Callable[[float], float]) -> float:
        return 0.0 if value is None else ratio * (_quantile(simulated(value)) - _quantile(formula(value)))

    in_loss = lacks(few.detectable(), few.loss_power, few.loss_formula)
    return in_loss, lacks(few.provable(), few.margin_power, few.margin_formula)


def _corrected(formula: float, lacking: float) -> float:
    return float(ndtr(_quantile(formula) + lacking)) if lacking and formula else formula


def _quantile(chance: float) -> float:
    return float(ndtri(min(max(chance, _LEAST_CHANCE), 1 - _LEAST_CHANCE)))


def average(designs: Sequence[Design]) -> tuple[float, float] | None:
    """(detectable loss, provable margin) of the mean over several benchmarks, each losing the same; None for none."""
    units = sum(design.units for design in designs)

    def error(loss: float) -> float:
        return math.hypot(*(design.standard_error(loss) for design in designs)) / len(designs)

    def shown(loss: float) -> bool:
        return detectable_loss_normal(error(loss), units) <= loss

    return (_smallest(shown, 1.0), provable_margin_normal(error(0.0), units)) if shown(1.0) else None


def items_needed(margin: float, flip_rate: float) -> int:
    """Items with which equally good variants prove `margin` with the POWER, one binary sample an item."""
    return _least(lambda items: margin_power(items, flip_rate, margin) >= POWER)


def items_needed_by(design: Design, margin: float) -> int:
    """Items with which a design like this one, in groups of such sizes, would prove `margin`."""
    if design.samples == 1 and not design.sizes:
        return items_needed(margin, design.flip_rate)
    proves = _proving(design, margin)
    return _least(lambda items: proves(replace(design, items=items)))


def samples_needed(design: Design, margin: float, most: int) -> int | None:
    """Samples an item, up to `most`, with which the design would prove `margin`; None where no such number does."""
    proves = _proving(design, margin)
    needed = _least(lambda k: k > most or proves(replace(design, samples=k)))
    return needed if needed <= most else None


def _proving(design: Design, margin: float) -> Callable[[Design], bool]:
    """Tells of designs like this one if they prove a margin: by the formula, shifted to what simulation says of this.

    The shift is one of the power's quantile.
    """
    lacking = _lacking(design)[1]

    def proves(other: Design) -> bool:
        return _smallest(lambda value: _corrected(other.margin_formula(value), lacking) >= POWER, 1.0) <= margin

    return proves


def _least(holds: Callable[[int], bool]) -> int:
    """The smallest number that holds, where all larger ones do."""
    high = 1
    while not holds(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _smallest(holds: Callable[[float], bool], highest: float) -> float:
    low, high = 0.0, highest
    while high - low > 1e-4 * highest:
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
