"""Promises of a plan for so many hours, beside simulated studies of exactly that plan with equally good variants.

    OMP_NUM_THREADS=1 python perf/hours_plan.py STUDY --rates 322,382,606 [--hours 3] [--studies 1000] [--seed 1]

Prints one JSON line a benchmark, in percent: the chance that a loss of the margin is ruled out and the mean share of
the items asked, as promised and as simulated. Studies have the items, samples and looks of the choice and the flips
that the plan assumes. With several samples an item of the true changes has the same answers in all of them, and the
noise comes from items of which every answer is right with an even chance.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
from sequential_coverage import Binary

from bitparity.doctor.budget import Option, choose
from bitparity.doctor.plan import make_plan
from bitparity.doctor.rates import Rate, Rates
from bitparity.exam.looks import FEW_LOOKS, MANY, MANY_LOOKS, ends_of
from bitparity.stats.arrays import pair_scores
from bitparity.stats.looks import claim, follow
from bitparity.stats.sequential import StopRule
from bitparity.study.resolve import load_study


def rule_of(option: Option) -> StopRule:
    """The looks that the exam of such a choice gets, or the one at its end."""
    many = option.items >= MANY
    looks = 1 if option.asked == 1 else MANY_LOOKS if many else FEW_LOOKS
    ends = ends_of([str(row) for row in range(option.items)], looks)
    return StopRule(ends, "power_2" if many or looks == 1 else "obrien_fleming", option.bench.margin)


def once(option: Option, studies: int, rng: np.random.Generator) -> list[tuple[bool, float]]:
    """(whether the loss was ruled out, share of the items asked) of studies with one sample an item."""
    cell = Binary(rule_of(option), option.design.flip_rate, 0.0)
    last = len(cell.rule.looks) - 1
    ended = []
    for path in cell.paths(rng, studies):
        index, by = cell.stop(path) if last else (0, cell.claim(0, *path[0].tolist()))
        if last and index == last:
            by = cell.claim(index, *path[index].tolist())
        ended.append((by == "within", cell.rule.looks[index] / option.items))
    return ended


def several(option: Option, studies: int, rng: np.random.Generator) -> list[tuple[bool, float]]:
    """The same with several samples an item."""
    design, rule, shape = option.design, rule_of(option), (option.items, option.samples)
    changed, noisy = design.flip_rate - design.noise_flip_rate, 2 * design.noise_flip_rate
    ended = []
    for _ in range(studies):
        kind, right = rng.random(option.items), rng.random(option.items) < 0.7
        before = np.repeat(right[:, np.newaxis], option.samples, 1).astype(float)
        after = before.copy()
        side = rng.random(option.items) < 0.5
        before[kind < changed], after[kind < changed] = side[kind < changed, None], ~side[kind < changed, None]
        rows = (kind >= changed) & (kind < changed + noisy)
        before[rows], after[rows] = (rng.random((2, *shape)) < 0.5)[:, rows]
        found = follow(rule, lambda n, one=before, other=after: pair_scores(one[:n], other[:n]))
        assert found is not None
        ended.append(((found.by or claim(found.pairs)) == "within", found.items / option.items))
    return ended


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("study", type=Path)
    parser.add_argument("--rates", required=True, help="output tokens a second of each variant, in the study's order")
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    study = load_study(given.study)
    rates = dict(zip(study.variants, map(float, given.rates.split(",")), strict=True))
    plan = make_plan(study, Rates({name: Rate(rate, rate, rate) for name, rate in rates.items()}, "given"))
    budget = choose(plan, given.hours)
    for option in budget.chosen:
        binary = option.samples == 1 and not option.design.sizes
        rng = np.random.default_rng(given.seed)
        ended = (once if binary else several)(option, given.studies, rng)
        chance, asked = (float(np.mean(values)) for values in zip(*ended, strict=True))
        row = {
            **{"benchmark": option.bench.name, "items": option.items, "samples": option.samples},
            **{"margin": option.bench.margin, "hours": round(option.hours, 2), "studies": given.studies},
            "within": {"promised": round(100 * option.chance, 1), "simulated": round(100 * chance, 1)},
            "standard_error": round(100 * math.sqrt(chance * (1 - chance) / given.studies), 1),
            "asked": {"promised": round(100 * option.asked, 1), "simulated": round(100 * asked, 1)},
        }
        print(json.dumps(row), flush=True)
    print(json.dumps({"hours": given.hours, "used": round(budget.used, 2), "left_out": dict(budget.left_out)}))


if __name__ == "__main__":
    main()
