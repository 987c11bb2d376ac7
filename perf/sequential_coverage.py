"""False claims, savings and figures of comparisons that stop early, over simulated studies with known truth.

    OMP_NUM_THREADS=1 python perf/sequential_coverage.py [--studies 1000] [--seed 1] [--part cells|samples|family]

Prints one JSON line a cell, in percent. `cells`: one binary sample an item; "within" and "beyond" are false where the
loss is the margin (at most 5 and 2.5 plus three standard errors). `asked` is the mean share of the items asked; `whole`
the claims of the same studies without looks.
`mean_bias`, in points, is of the mean of the items asked; `figure_bias`, `medians_below` (nominal 50) and `covered`
(95) are of the figures after the stop, over the first FIGURES studies: half of them lie below the truth, their mean not
on it. `samples`: several samples and groups, by the general intervals.
`family`: 3 candidates on 7 benchmarks without a loss; the rate of any loss shown (at most 2.5).
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from scipy.special import bdtr, ndtr, ndtri

from bitparity.results.verdicts import ComparisonKey, judge
from bitparity.stats.arrays import PairedScores, pair_scores
from bitparity.stats.looks import FEWEST_CHANGES, Reached, claim, follow, unbiased
from bitparity.stats.paired import no_difference_p, signed_z
from bitparity.stats.sequential import BEYOND_ALPHA, WITHIN_ALPHA, Look, StopRule, bounds
from bitparity.stats.verdicts import untraced_loss

FIGURES = 1000
CHECKED = 20  # of the studies at each look
ENDS = (None, "within", "beyond", "futility")
CELLS = [
    *((12032, 0.01, flips, loss) for flips in (0.04, 0.08, 0.15) for loss in (0.0, 0.005, 0.01, 0.02)),
    (12032, 0.01, 0.08, 0.05),
    *((500, margin, 0.10, loss) for margin in (0.02, 0.05) for loss in (0.0, margin, 2 * margin)),
    *((1055, 0.03, 0.10, loss) for loss in (0.0, 0.03, 0.06)),
]
SAMPLED = [(198, 5, 1, 0.05), (288, 1, 4, 0.03), (500, 4, 1, 0.03)]  # items, samples, size of a group, margin
BENCHMARKS = [
    *((12032, 0.01, 0.08), (2500, 0.02, 0.05), (1055, 0.03, 0.10)),
    *((500, 0.02, 0.05), (990, 0.05, 0.10), (288, 0.03, 0.10), (480, 0.05, 0.10)),
]


def rule_of(items: int, margin: float, family: int = 1) -> StopRule:
    """As `exam.looks` makes it, where all items can be parted."""
    looks = 10 if items >= 1000 else 5
    ends = tuple(round(look * items / looks) for look in range(1, looks + 1))
    return StopRule(ends, "power_2" if looks == 10 else "obrien_fleming", margin, family=family)


def counted(items: int, lost: int, gained: int) -> PairedScores:
    """Pairs of one binary sample with so many flips."""
    before, after = np.zeros(items), np.zeros(items)
    before[:lost], after[lost : lost + gained] = 1, 1
    return pair_scores(before, after)


class Binary:
    """Studies of one rule: what each look says of them, and where they end."""

    def __init__(self, rule: StopRule, flips: float, loss: float) -> None:
        self.rule, self.rates = rule, [(flips + loss) / 2, (flips - loss) / 2, 1 - flips]

    def claim(self, index: int, lost: int, gained: int) -> str | None:
        """The claim that bitparity makes of so many flips."""
        if lost + gained < FEWEST_CHANGES:
            return None
        return claim(replace(counted(self.rule.looks[index], lost, gained), look=Look(self.rule, index)))

    def claims(self, index: int, lost: np.ndarray, gained: np.ndarray) -> np.ndarray:
        """`claim` of many pairs of counts at once, by an index of ENDS; a part of them is held against `claim`."""
        rule, items = self.rule, self.rule.looks[index]
        margin, difference, last = rule.margin, (gained - lost) / items, index == len(rule.looks) - 1
        alphas = 2 * WITHIN_ALPHA, 2 * BEYOND_ALPHA, 2 * BEYOND_ALPHA / rule.family
        least, shown, stands = (-ndtri(Look(rule, index).nominal(alpha) / 2) for alpha in alphas)
        # how far the score statistic at -margin, corrected for skewness where that is less, lies beyond a quantile
        offset, variance, third = difference + margin, *_at_margin(lost, gained, items, margin)
        z = offset * np.sqrt(items / variance)
        skew = third / (variance * np.sqrt(variance * items)) / 6

        def outside(quantile: float) -> np.ndarray:
            shift = skew * (quantile**2 - 1)
            return np.maximum(np.abs(z) - np.maximum(np.copysign(shift, shift * z), 0), 0) > quantile

        p_value = np.minimum(1, 2 * bdtr(np.minimum(lost, gained), lost + gained, 0.5))
        within = (offset > 0) & outside(least) & (untraced_loss(items, Look(rule, index).nominal(0.1) / 2) < margin)
        beyond = (offset < 0) & outside(shown) & outside(stands) & (-ndtri(p_value / 2) > stands)
        spread = (lost + gained) / items - difference**2
        error = np.maximum(np.sqrt(spread / (items - 1)), 1 / items)
        time = rule.times[index]
        ahead = error * math.sqrt(1 - time) + 1e-300
        above, below = rule.within[-1], bounds(rule.times, BEYOND_ALPHA, rule.spending)[-1]
        chances = (
            (margin + difference - above * error * math.sqrt(time)) / ahead,
            (-below * error * math.sqrt(time) - margin - difference) / ahead,
        )
        futile = np.all([ndtr(chance) < rule.futility for chance in chances], axis=0) & (not last)
        found = np.select([within, beyond, futile], [1, 2, 3], 0) * (lost + gained >= FEWEST_CHANGES)
        for row in range(0, len(found), max(1, len(found) // CHECKED)):
            assert ENDS[found[row]] == self.claim(index, int(lost[row]), int(gained[row])), (index, lost[row])
        return found

    def paths(self, rng: np.random.Generator, studies: int) -> np.ndarray:
        """Flips up to each look: (studies, looks, 2)."""
        steps = np.diff((0, *self.rule.looks))
        return np.stack([rng.multinomial(step, self.rates, studies)[:, :2] for step in steps], axis=1).cumsum(axis=1)

    def stop(self, path: np.ndarray) -> tuple[int, str | None]:
        """(look, claim) at which a study ends."""
        return self.stops(path[np.newaxis])[0]

    def stops(self, paths: np.ndarray) -> list[tuple[int, str | None]]:
        """(look, claim) at which each study ends."""
        ends, by = np.full(len(paths), len(self.rule.looks) - 1), np.zeros(len(paths), dtype=int)
        going_on = np.arange(len(paths))
        for index in range(len(self.rule.looks)):
            found = self.claims(index, *paths[going_on, index].T)
            ends[going_on[found > 0]], by[going_on] = index, found
            going_on = going_on[found == 0]
        return [(index, ENDS[each]) for index, each in zip(ends.tolist(), by.tolist(), strict=True)]

    def pairs(self, path: np.ndarray, index: int) -> PairedScores:
        """The pairs at a look, with the looks before it."""
        before = []
        for items, (lost, gained) in zip(self.rule.looks[:index], path.tolist(), strict=False):
            pairs = counted(items, lost, gained)
            looked = lost + gained >= FEWEST_CHANGES
            before.append(signed_z(pairs, no_difference_p(pairs)) if looked else math.nan)
        look = Look(self.rule, index, tuple(before))
        return replace(counted(self.rule.looks[index], *path[index].tolist()), look=look)


def _at_margin(lost: np.ndarray, gained: np.ndarray, items: int, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """`score_interval.tango_moments` at -margin of many pairs of counts."""
    b = -lost - gained - (2 * items - gained + lost) * margin
    root = np.sqrt(b * b - 8 * items * lost * margin * (1 + margin))
    rate = (root - b) / (4 * items)  # lost
    variance = 2 * rate - margin * (1 + margin)
    third = -rate * (1 - margin) ** 3 + (rate - margin) * (1 + margin) ** 3
    return variance, third + (1 - 2 * rate + margin) * margin**3


def percent(values: list[bool]) -> float:
    return round(100 * sum(values) / len(values), 2)


def cells(studies: int, seed: int) -> Iterator[dict[str, object]]:
    for items, margin, flips, loss in CELLS:
        cell, rng = Binary(rule_of(items, margin), flips, loss), np.random.default_rng(seed)
        fixed = Binary(StopRule((items,), "power_2", margin), flips, loss)
        paths = cell.paths(rng, studies)
        ends = cell.stops(paths)
        whole = [by for _, by in fixed.stops(paths[:, -1:])]
        errors, medians, covered = [], [], []
        for path, (index, _) in list(zip(paths, ends, strict=True))[:FIGURES]:
            pairs = cell.pairs(path, index)
            median, (low, high) = unbiased(pairs)
            errors.append(pairs.difference + loss)
            medians.append(median + loss)
            covered.append(low <= -loss <= high)
        yield {
            **{"items": items, "margin": margin, "flips": flips, "loss": loss, "studies": studies},
            "asked": round(100 * float(np.mean([cell.rule.looks[index] for index, _ in ends])) / items, 1),
            **{by: percent([found == by for _, found in ends]) for by in ("within", "beyond", "futility")},
            "whole": {by: percent([found == by for found in whole]) for by in ("within", "beyond")},
            "mean_bias": round(100 * float(np.mean(errors)), 3),
            "figure_bias": round(100 * float(np.mean(medians)), 3),
            "medians_below": percent([value < 0 for value in medians]),
            "covered": percent(covered),
        }


def sampled(studies: int, seed: int) -> Iterator[dict[str, object]]:
    for items, samples, size, margin in SAMPLED:
        for loss in (0.0, margin, 2 * margin):
            rng, rule = np.random.default_rng(seed), rule_of(items, margin)
            ends = [_sampled_end(rng, rule, samples, size, loss) for _ in range(studies)]
            yield {
                **{
                    "items": items,
                    "samples": samples,
                    "group": size,
                    "margin": margin,
                    "loss": loss,
                    "studies": studies,
                },
                "asked": round(100 * float(np.mean([end.items for end in ends])) / items, 1),
                **{by: percent([end.by == by for end in ends]) for by in ("within", "beyond", "futility")},
            }


def _sampled_end(rng: np.random.Generator, rule: StopRule, samples: int, size: int, loss: float) -> Reached:
    """A study whose groups share half of their chance; a loss takes that share of every item's chance."""
    groups = [str(row // size) for row in range(rule.items)]
    shared = np.repeat(rng.beta(2.0, 1.0, -(-rule.items // size)), size)[: rule.items]
    chance = (shared + rng.beta(2.0, 1.0, rule.items)) / 2
    lower = chance * (1 - loss / (2 / 3))  # the mean chance is 2 / 3
    before, after = (rng.random((rule.items, samples)) < c[:, np.newaxis] for c in (chance, lower))
    found = follow(rule, lambda n: pair_scores(before[:n], after[:n], groups[:n] if size > 1 else None))
    assert found is not None
    return found


def family(studies: int, seed: int) -> Iterator[dict[str, object]]:
    rng, of = np.random.default_rng(seed), 3 * len(BENCHMARKS)
    each = {f"b{n}": Binary(rule_of(i, m, of), f, 0.0) for n, (i, m, f) in enumerate(BENCHMARKS)}
    margins = {name: cell.rule.margin for name, cell in each.items()}
    paths = {(name, candidate): cell.paths(rng, studies) for name, cell in each.items() for candidate in "abc"}
    ends = {key: each[key[0]].stops(found) for key, found in paths.items()}
    judged = np.any([_may_show(each[key[0]].rule, paths[key], of) for key in paths], axis=0)
    shown = 0
    for row in np.flatnonzero(judged):
        pairs: dict[ComparisonKey, PairedScores] = {
            key: each[key[0]].pairs(paths[key][row], ends[key][row][0]) for key in paths
        }
        shown += any(j.comparison.loss_shown for j in judge(pairs, margins, dict.fromkeys(pairs, ())).values())
    yield {"comparisons": of, "studies": studies, "any loss shown": round(100 * shown / studies, 2)}


def _may_show(rule: StopRule, paths: np.ndarray, of: int) -> np.ndarray:
    """False where no look has a p-value that Holm's correction could take for a loss, so that none need be judged."""
    lost, gained = paths[..., 0], paths[..., 1]
    z = -ndtri(np.minimum(1, 2 * bdtr(gained, lost + gained, 0.5)) / 2)
    return np.asarray((z > np.array(bounds(rule.times, BEYOND_ALPHA / of, rule.spending)) - 0.01).any(axis=1))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", choices=("cells", "samples", "family"), default="cells")
    given = parser.parse_args()
    for row in {"cells": cells, "samples": sampled, "family": family}[given.part](given.studies, given.seed):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
