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

from bitparity.results.verdicts import ComparisonKey, judge
from bitparity.stats.arrays import PairedScores, pair_scores
from bitparity.stats.looks import FEWEST_CHANGES, Reached, claim, follow, unbiased
from bitparity.stats.paired import no_difference_p, signed_z
from bitparity.stats.sequential import Look, StopRule

FIGURES = 200
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
    """Studies of one rule; what a look says of a pair of counts is computed once."""

    def __init__(self, rule: StopRule, flips: float, loss: float) -> None:
        self.rule, self.rates = rule, [(flips + loss) / 2, (flips - loss) / 2, 1 - flips]
        self._known: dict[tuple[int, int, int], str | None] = {}

    def claim(self, index: int, lost: int, gained: int) -> str | None:
        key = (index, lost, gained)
        if key not in self._known:
            pairs = replace(counted(self.rule.looks[index], lost, gained), look=Look(self.rule, index))
            self._known[key] = claim(pairs) if lost + gained >= FEWEST_CHANGES else None
        return self._known[key]

    def paths(self, rng: np.random.Generator, studies: int) -> np.ndarray:
        """Flips up to each look: (studies, looks, 2)."""
        steps = np.diff((0, *self.rule.looks))
        return np.stack([rng.multinomial(step, self.rates, studies)[:, :2] for step in steps], axis=1).cumsum(axis=1)

    def stop(self, path: np.ndarray) -> tuple[int, str | None]:
        """(look, claim) at which a study ends."""
        for index, (lost, gained) in enumerate(path.tolist()):
            if (by := self.claim(index, lost, gained)) is not None:
                return index, by
        return len(path) - 1, None

    def pairs(self, path: np.ndarray, index: int) -> PairedScores:
        """The pairs at a look, with the looks before it."""
        before = []
        for items, (lost, gained) in zip(self.rule.looks[:index], path.tolist(), strict=False):
            pairs = counted(items, lost, gained)
            looked = lost + gained >= FEWEST_CHANGES
            before.append(signed_z(pairs, no_difference_p(pairs)) if looked else math.nan)
        look = Look(self.rule, index, tuple(before))
        return replace(counted(self.rule.looks[index], *path[index].tolist()), look=look)


def percent(values: list[bool]) -> float:
    return round(100 * sum(values) / len(values), 2)


def cells(studies: int, seed: int) -> Iterator[dict[str, object]]:
    for items, margin, flips, loss in CELLS:
        cell, rng = Binary(rule_of(items, margin), flips, loss), np.random.default_rng(seed)
        fixed = Binary(StopRule((items,), "power_2", margin), flips, loss)
        paths = cell.paths(rng, studies)
        ends = [cell.stop(path) for path in paths]
        whole = [fixed.claim(0, *path[-1].tolist()) for path in paths]
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
    shown = []
    for _ in range(studies):
        pairs: dict[ComparisonKey, PairedScores] = {}
        for name, cell in each.items():
            for candidate, path in zip("abc", cell.paths(rng, 3), strict=True):
                pairs[name, candidate] = cell.pairs(path, cell.stop(path)[0])
        shown.append(any(j.comparison.loss_shown for j in judge(pairs, margins, dict.fromkeys(pairs, ())).values()))
    yield {"comparisons": of, "studies": studies, "any loss shown": percent(shown)}


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
