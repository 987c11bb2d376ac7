"""Comparisons that are looked at several times and stop once their verdict is certain; see `sequential`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from scipy.special import ndtr, ndtri

from bitparity.stats import paired
from bitparity.stats.arrays import PairedScores
from bitparity.stats.sequential import BEYOND_ALPHA, Look, StopRule, bounds, stagewise
from bitparity.stats.verdicts import Interval

FEWEST_CHANGES = 10  # clusters that differ; among fewer the bounds of a look do not hold
By = Literal["within", "beyond", "futility", "regraded"]


@dataclass(frozen=True, slots=True)
class Reached:
    """The look at which a comparison ended: the pairs up to there, and what stopped it; None where nothing did.

    "regraded": it was stopped there by grades that have changed since, and those of now would not have stopped it. Its
    repeated interval holds all the same, whatever made it stop.
    """

    pairs: PairedScores
    by: By | None

    @property
    def look(self) -> Look:
        """The look."""
        return look_of(self.pairs)

    @property
    def items(self) -> int:
        """The items of the exam up to there."""
        return self.look.rule.looks[self.look.index]


def look_of(pairs: PairedScores) -> Look:
    """The look of pairs that are taken at one."""
    assert pairs.look is not None
    return pairs.look


def follow(rule: StopRule, upto: Callable[[int], PairedScores | None], end: int | None = None) -> Reached | None:
    """Take one look after another until one stops; None where the answers do not reach that far yet.

    `upto` gives the pairs of the first so many items, None where an answer of them is missing. What is found depends
    on nothing else, so it is found again whenever it is asked for. Where nothing stops before so many items, `end` is
    the last look: the answers beyond it do not count.
    """
    end = rule.items if end is None else end
    before: list[float] = []
    for index, items in enumerate(rule.cut(end).looks):
        pairs = upto(items)
        if pairs is None:
            return None
        planned = items in rule.looks
        pairs = replace(pairs, look=Look(rule if planned else rule.cut(end), index, tuple(before)))
        if items == rule.items or not planned:
            return Reached(pairs, None)
        # as long as too few have changed to be looked at
        before.append(math.nan)
        if pairs.differing >= FEWEST_CHANGES:
            if (by := claim(pairs)) is not None:
                return Reached(pairs, by)
            before[-1] = paired.signed_z(pairs, paired.no_difference_p(pairs))
        if items == end:
            return Reached(pairs, None)
    return None


def claim(pairs: PairedScores) -> By | None:
    """The claim that a look allows, by repeated intervals; None to go on.

    A loss beyond the margin must stand at the level that Holm's correction asks of the first of its family.
    """
    look = look_of(pairs)
    margin, recovery = margin_at(pairs), look.rule.recovery
    _, ci95, ci90 = paired.deciding_intervals(pairs, recovery)
    if ci90[0] > -margin:
        return "within"
    alpha = 2 * BEYOND_ALPHA / look.rule.family
    if ci95[1] < -margin and paired.upper_bound(pairs, alpha, recovery) < -margin:
        p_value = look.p_value(paired.signed_z(pairs, paired.no_difference_p(pairs)))
        return "beyond" if p_value < alpha else None
    return "futility" if not look.last and is_futile(pairs) else None


def margin_at(pairs: PairedScores) -> float:
    """The margin of pairs at a look, a fraction."""
    rule = look_of(pairs).rule
    return rule.margin if rule.recovery is None else paired.margin_of(pairs, rule.recovery)


def is_futile(pairs: PairedScores) -> bool:
    """True before the end where both claims have next to no chance there, if things go on as they have so far."""
    look = look_of(pairs)
    low, high = _futile_zone(look.rule, _variance(pairs), look.rule.times[look.index], margin_at(pairs), pairs.items)
    return low < pairs.difference < high


def _variance(pairs: PairedScores) -> float:
    """The variance of one item's difference, groups counted in; above 0 where all are alike."""
    return max(pairs.standard_error, 1 / pairs.items) ** 2 * pairs.items


def _futile_zone(rule: StopRule, variance: float, time: float, margin: float, items: int) -> Interval:
    """The differences of so many items between which asking on is in vain; empty where the first is the larger one.

    Given the mean of the first n of N items, that of all is normal around it with the variance V (1 / n - 1 / N), where
    V is the `variance` of one item.
    """
    error, spread = math.sqrt(variance / items * time), math.sqrt(variance / items * (1 - time))
    above, below = rule.within[-1], bounds(rule.times, BEYOND_ALPHA, rule.spending)[-1]
    reach = -float(ndtri(rule.futility)) * spread
    return -below * error - margin + reach, above * error - margin - reach


def chance_of_stop(pairs: PairedScores) -> float:
    """Probability that the look ahead stops, from the `pairs` answered so far of those that it will have.

    By the normal formula of the mean at the look given the one so far, as for futility. It decides nothing but what is
    asked first.
    """
    look = look_of(pairs)
    rule, items, margin = look.rule, look.rule.looks[look.index], margin_at(pairs)
    if pairs.differing < FEWEST_CHANGES or pairs.items >= items:
        return 0.0
    variance = _variance(pairs)
    error, ahead = math.sqrt(variance / items), math.sqrt(variance * (1 / pairs.items - 1 / items))

    def below(value: float) -> float:
        return float(ndtr((value - pairs.difference) / ahead))

    within, beyond = (bound[look.index] * error for bound in (rule.within, rule.beyond))
    low, high = _futile_zone(rule, variance, rule.times[look.index], margin, items)
    futile = 0.0 if look.last else max(0.0, below(high) - below(low))
    return min(1.0, 1 - below(within - margin) + below(-beyond - margin) + futile)


def unbiased(pairs: PairedScores) -> tuple[float, Interval]:
    """The median-unbiased difference after the looks so far, and its 95 % interval; fractions.

    The mean of the items asked exaggerates what made one stop; see `sequential.stagewise`.
    """
    look = look_of(pairs)
    rule, upto, margin = look.rule, look.index + 1, margin_at(pairs)
    error = pairs.standard_error
    if error == 0:
        return pairs.difference, paired.difference_intervals(pairs, 2 * BEYOND_ALPHA)[1]
    lower = tuple(-bound for bound in rule.beyond[:upto])
    z = (pairs.difference + margin) / error
    at_end = error * math.sqrt(rule.times[look.index])
    low, median, high = (
        min(max(drift * at_end - margin, -1.0), 1.0) for drift in stagewise(rule.times, rule.within[:upto], lower, z)
    )
    return median, (low, high)
