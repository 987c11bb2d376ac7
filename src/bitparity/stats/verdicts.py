"""Verdict on a difference: one of five, from its interval and a margin that was fixed in advance.

The interval is one method at two levels: 1 - alpha (95 %), which is shown and must lie below zero for any
"worse", and 1 - 2 alpha (90 %), which is two one-sided tests at alpha each (Schuirmann 1987) and decides
what lies within the margin. So a wrong "worse" has probability at most alpha / 2, a wrong "within the margin"
at most alpha. The states are those of the CONSORT extension for non-inferiority (Piaggio et al.,
JAMA 308 (2012) 2594-2604, figure 1).

| verdict | what is shown |
|---|---|
| equivalent | the difference lies within the margin on both sides |
| non_inferior | the loss is smaller than the margin; a gain may be larger |
| worse_within_margin | there is a loss, and it is smaller than the margin |
| worse_beyond_margin | there is a loss, and it is larger than the margin |
| inconclusive | none of these: in particular a loss may be shown while its size straddles the margin |
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

Verdict = Literal["equivalent", "non_inferior", "worse_within_margin", "worse_beyond_margin", "inconclusive"]
Interval = tuple[float, float]

WITHIN: frozenset[Verdict] = frozenset({"equivalent", "non_inferior", "worse_within_margin"})


def untraced_loss(units: float, alpha: float = 0.05) -> float:
    """The loss that leaves no trace among so many items, or groups of them, with probability alpha.

    It sits wholly on a share of the questions, always right before and never again; (1 - share)^units = alpha.
    However often each of 30 questions is asked, 9.5 points can be lost on others of the kind.
    """
    return float(1 - alpha ** (1 / units))


def is_worse(ci95: Interval, p_value: float, alpha: float = 0.05) -> bool:
    """True if a loss is shown: the interval lies below zero and the test agrees (p below alpha)."""
    return ci95[1] < 0 and p_value < alpha


def decide(
    ci95: Interval,
    ci90: Interval,
    p_value: float,
    margin: float,
    alpha: float = 0.05,
    *,
    units: float = math.inf,
    beyond: bool = True,
) -> Verdict:
    """The verdict on a difference (candidate minus baseline, so a loss is negative) against `margin` > 0.

    `ci95` and `ci90` are the intervals of level 1 - alpha and 1 - 2 alpha, `p_value` the test of no difference
    (adjusted for its family where there is one); all fractions. `units` is the number of items, or of groups: with so
    few that a loss of the margin can leave no trace, none is ruled out. `beyond` is False where the test at -margin
    does not stand in its family. Raises ValueError for a margin of 0 or less.
    """
    if not margin > 0:
        raise ValueError(f"margin is {margin}; it must be above 0, a fraction fixed before the run")
    within = ci90[0] > -margin and margin >= untraced_loss(units, alpha)
    worse = is_worse(ci95, p_value, alpha)
    if worse and beyond and ci95[1] < -margin:
        return "worse_beyond_margin"
    if within:
        return "worse_within_margin" if worse else "equivalent" if ci90[1] < margin else "non_inferior"
    return "inconclusive"


def within_margin_on_all(verdicts: Iterable[str]) -> bool:
    """True if every verdict shows a loss smaller than its margin.

    An intersection-union test: each part at level alpha makes the whole level alpha, without a correction
    (R. Berger, Technometrics 24 (1982) 295-300). False where there are no verdicts.
    """
    listed = list(verdicts)
    return bool(listed) and all(verdict in WITHIN for verdict in listed)
