"""Power: which loss a comparison could detect, which margin it could prove, and what it would need.

Fractions throughout; tests at `alpha`, two-sided for a loss and one-sided for a margin, as in `verdicts`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import cast

import numpy as np
from scipy.special import bdtrik, betainc, gammaln, ndtr, ndtri, stdtrit

from bitparity.stats.arrays import Floats
from bitparity.stats.score_interval import tango_moments
from bitparity.stats.verdicts import untraced_loss

_EXACT_FLIPS = 60.0


def mcnemar_power(items: int, flip_rate: float, loss: float, alpha: float = 0.05) -> float:
    """Probability that the exact McNemar test finds a true `loss` among `items` pairs of which `flip_rate` flip.

    Exact: summed over the number of flips, which is binomial (S. Duffy, Statistics in Medicine 3 (1984) 367-371).
    Raises ValueError for a loss larger than the flip rate: that many items cannot be lost.
    """
    if not 0 <= loss <= flip_rate <= 1:
        raise ValueError(f"loss {loss} and flip rate {flip_rate}: 0 <= loss <= flip rate <= 1 must hold")
    if flip_rate == 0:
        return 0.0
    flips, mass = _likely_counts(items, flip_rate)
    most = _critical_gained(flips, alpha)
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
    """P(X <= counts) for counts of 0 or more, as an incomplete beta function."""
    inside = counts < trials
    return np.where(inside, betainc(np.where(inside, trials - counts, 1.0), counts + 1, 1 - rate), 1.0)


def _critical_gained(flips: Floats, alpha: float) -> Floats:
    """For each number of flips the most gained items at which the exact two-sided p is still below alpha; -1: none."""
    guess = np.floor(np.nan_to_num(bdtrik(alpha / 2, flips, 0.5), nan=-1.0)) + 1
    for _ in range(3):
        guess = np.where(
            (guess >= 0) & (2 * _binomial_cdf(np.maximum(guess, 0), flips, 0.5) >= alpha), guess - 1, guess
        )
    return cast(Floats, guess)


def margin_power(items: int, flip_rate: float, margin: float, alpha: float = 0.05) -> float:
    """Probability of showing a loss below `margin` where the variants are equally good and `flip_rate` flip.

    The test is the lower bound of Tango's interval of level 1 - 2 alpha: exact by enumeration for few flips, else
    the normal approximation with the restricted variance at the margin (J. Liu et al., Statistics in Medicine
    21 (2002) 231-245, equation 8).
    """
    if items < 2 or margin < untraced_loss(items, alpha):
        return 0.0
    quantile = float(ndtri(1 - alpha))
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
def detectable_loss(items: int, flip_rate: float, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """Smallest true loss that one binary sample an item shows with `power`; None where even the largest is not."""
    if mcnemar_power(items, flip_rate, flip_rate, alpha) < power:
        return None
    return _smallest(lambda loss: mcnemar_power(items, flip_rate, loss, alpha) >= power, flip_rate)


@lru_cache(maxsize=4096)
def provable_margin(items: int, flip_rate: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest margin that equally good variants prove with `power`, one binary sample an item; at most 1."""
    return _smallest(lambda margin: margin_power(items, flip_rate, margin, alpha) >= power, 1.0)


def detectable_loss_normal(se: float, clusters: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest true loss shown with `power` by a test with standard error `se`: (t_{1-alpha/2} + z_power) se."""
    return float(stdtrit(clusters - 1, 1 - alpha / 2) + ndtri(power)) * se


def provable_margin_normal(se: float, clusters: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest margin that equally good variants prove with `power`: (t_{1-alpha} + z_power) se, or `untraced_loss`."""
    return max(float(stdtrit(clusters - 1, 1 - alpha) + ndtri(power)) * se, untraced_loss(clusters, alpha))


def standard_error(items: int, flip_rate: float, samples: int = 1, noise_flip_rate: float = 0.0) -> float:
    """Standard error of a difference of 0 for a planned comparison with `samples` an item.

    One sample flips `flip_rate` of the items, of which `noise_flip_rate` would flip between two runs of one
    variant; averaging over samples shrinks only the latter (Miller, arXiv 2411.00640, section 3.2).
    Raises ValueError where the noise exceeds the flips.
    """
    _check_noise(flip_rate, noise_flip_rate)
    return math.sqrt((flip_rate - noise_flip_rate + noise_flip_rate / samples) / items)


def _check_noise(flip_rate: float, noise_flip_rate: float) -> None:
    if not 0 <= noise_flip_rate <= flip_rate:
        raise ValueError(f"noise flip rate {noise_flip_rate} must lie between 0 and the flip rate {flip_rate}")


def items_needed(margin: float, flip_rate: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """Items with which equally good variants prove `margin` with `power`, one binary sample an item."""
    high = 1
    while margin_power(high, flip_rate, margin, alpha) < power:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if margin_power(middle, flip_rate, margin, alpha) >= power else (middle, high)
    return high


def samples_needed(
    margin: float, items: int, flip_rate: float, noise_flip_rate: float, alpha: float = 0.05, power: float = 0.8
) -> int | None:
    """Samples an item with which `items` prove `margin` with `power`; None where no number of samples does."""
    _check_noise(flip_rate, noise_flip_rate)
    if margin < untraced_loss(items, alpha):
        return None
    quantiles = float(stdtrit(max(items - 1, 1), 1 - alpha) + ndtri(power))
    left = (margin / quantiles) ** 2 * items - (flip_rate - noise_flip_rate)
    return max(1, math.ceil(noise_flip_rate / left - 1e-9)) if left > 0 else None


def _smallest(holds: Callable[[float], bool], highest: float) -> float:
    low, high = 0.0, highest
    while high - low > 1e-4 * highest:
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
