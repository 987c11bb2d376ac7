"""What the power formulas promise, and what simulated studies give.

    OMP_NUM_THREADS=1 python perf/statistics_power.py [--studies 4000]

Prints one JSON line a cell: the `formula`'s power and the share of the `simulated` studies that found the loss
(interval below zero and test below 5 %) or proved the margin, in percent, and one line with the largest distance.
For one binary sample an item the power at several losses and margins; for several samples, where the formula
is Student's with the true standard error, the power at the smallest loss and margin that it gives.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from statistics_coverage import STEPS, Cell, draw, feasible

from bitparity.stats import power
from bitparity.stats.arrays import pair_scores
from bitparity.stats.paired import difference_intervals, is_simple
from bitparity.stats.power import Design
from bitparity.stats.score_interval import tango_interval
from bitparity.stats.significance import mcnemar_exact, sign_flip_test
from bitparity.stats.simulated_power import group_sizes
from bitparity.stats.verdicts import untraced_loss

SINGLE = [
    (30, 0.1, (0.1,), (0.1, 0.15, 0.2)),
    (30, 0.2, (0.1, 0.2), (0.15, 0.2)),
    (198, 0.02, (0.02,), (0.02, 0.03)),
    (198, 0.05, (0.02, 0.03, 0.05), (0.03, 0.04, 0.05)),
    (198, 0.1, (0.04, 0.06), (0.05, 0.06)),
    (198, 0.2, (0.06, 0.09), (0.07, 0.09)),
    (500, 0.05, (0.02, 0.03), (0.02, 0.03)),
    (500, 0.1, (0.03, 0.04), (0.03, 0.04)),
    (500, 0.2, (0.04, 0.06), (0.04, 0.05)),
    (12_032, 0.02, (0.003, 0.004), (0.003, 0.004)),
    (12_032, 0.1, (0.006, 0.009), (0.006, 0.008)),
]
SEVERAL = [
    Cell("moved", n, k, level, 0.1, groups)
    for n, groups in ((30, "no"), (198, "no"), (500, "no"), (198, "fours"), (288, "unequal"))
    for k in (4, 16)
    for level in ("middle", "high")
]


SCICODE = tuple(size for size, problems in STEPS.items() for _ in range(problems))
UNEQUAL = (1,) * 100 + (5,) * 100 + (20,) * 70
PLANS = [  # name, design, copies of each sample
    *(("greedy repeats", Design(n, 0.12, 0.065), k) for n in (198, 500) for k in (4, 16)),
    *(("samples", Design(n, 0.155, 0.10, k), 1) for n in (60, 198, 500, 2000) for k in (4, 16)),
    ("groups", Design(288, 0.12, 0.065, 1, SCICODE, 0.15), 1),
    ("groups", Design(288, 0.08, 0.04, 1, SCICODE, 0.15), 1),
    ("groups", Design(288, 0.19, 0.09, 1, SCICODE, 0.15), 1),
    ("groups", Design(288, 0.155, 0.10, 4, SCICODE, 0.15), 1),
    ("groups", Design(198, 0.12, 0.065, 1, (2,) * 99, 0.3), 1),
    ("groups", Design(144, 0.12, 0.065, 1, SCICODE, 0.15), 1),
    ("groups", Design(288, 0.12, 0.065, 1, SCICODE, 0.4), 1),
    ("groups", Design(288, 0.155, 0.10, 16, SCICODE, 0.15), 1),
    *(("many", Design(n, 0.08, 0.04, 1, UNEQUAL, 0.2), 1) for n in (3200, 6000, 12_000)),
]


def single(studies: int) -> Iterator[dict[str, Any]]:
    """Cells of one binary sample an item; counts come straight from the trinomial distribution."""
    rng = np.random.default_rng(1)
    for n, rate, losses, margins in SINGLE:
        for loss in losses:
            counts = rng.multinomial(n, [(rate + loss) / 2, (rate - loss) / 2, 1 - rate], studies)[:, :2].tolist()
            found = [mcnemar_exact(*c) < 0.05 and tango_interval(*c, n)[1] < 0 for c in counts]
            yield _line(power.mcnemar_power(n, rate, loss), found, n=n, k=1, flip=rate, loss=loss)
        for margin in margins:
            counts = rng.multinomial(n, [rate / 2, rate / 2, 1 - rate], studies)[:, :2].tolist()
            proved = [tango_interval(*c, n, 0.1)[0] > -margin for c in counts]
            yield _line(power.margin_power(n, rate, margin), proved, n=n, k=1, flip=rate, margin=margin)


def several(studies: int) -> Iterator[dict[str, Any]]:
    """Cells of several samples an item, or groups: what is given as 80 % power."""
    for cell in SEVERAL:
        rng = np.random.default_rng(2)
        none = [pair_scores(*draw(cell, rng)) for _ in range(studies)]
        units = float(np.mean([pairs.degrees for pairs in none])) + 1
        se = float(np.std([pairs.difference for pairs in none]))
        margin = power.provable_margin_normal(se, units)
        proved = [difference_intervals(pairs, 0.05, 1, 1000)[2][0] > -margin for pairs in none]
        facts = {"n": cell.n, "k": cell.k, "level": cell.level, "groups": cell.groups}
        yield _line(0.8, proved, **facts, margin=round(margin, 4))
        loss = power.detectable_loss_normal(se, units)
        for _ in range(2):  # the loss changes the standard error
            lossy = replace(cell, loss=loss)
            if not feasible(lossy):
                break
            se = float(np.std([pair_scores(*draw(lossy, rng)).difference for _ in range(studies)]))
            loss = power.detectable_loss_normal(se, units)
        else:
            some = [pair_scores(*draw(replace(cell, loss=loss), rng)) for _ in range(studies)]
            found = [
                difference_intervals(pairs, 0.05, 1, 1000)[1][1] < 0
                and sign_flip_test(pairs.sums, pairs.unit, 1, 1000) < 0.05
                for pairs in some
            ]
            yield _line(0.8, found, **facts, loss=round(loss, 4))


def planned(studies: int) -> Iterator[dict[str, Any]]:
    """Cells of plans: what `Design` gives as 80 % power, for greedy repeats, samples and groups."""
    rng = np.random.default_rng(3)
    for name, design, repeats in PLANS:
        facts = {"plan": name, "n": design.items, "k": design.samples, "flip": design.flip_rate}
        loss, margin = design.detectable(), design.provable()
        if margin is not None and margin > untraced_loss(len(design.sizes) or design.items) + 1e-4:
            proved = [verdict(design, 0.0, repeats, rng, margin)[1] for _ in range(studies)]
            yield _line(0.8, proved, **facts, margin=round(margin, 4))
        if loss is not None:
            found = [verdict(design, loss, repeats, rng, 0.5)[0] for _ in range(studies)]
            yield _line(0.8, found, **facts, loss=round(loss, 4))


def verdict(design: Design, loss: float, repeats: int, rng: np.random.Generator, margin: float) -> tuple[bool, bool]:
    """(a loss is shown, the margin is proved) in one study drawn as the design assumes.

    What truly changes is lost or gained for good, within a group in one direction as often as its correlation says.
    Noise are items that are right half the time: two samples of one differ in half of the cases.
    """
    n, k = design.items, design.samples
    noise = design.noise_flip_rate if k > 1 else 0.0
    changed = max(design.flip_rate - noise, loss)
    u = rng.random(n)
    sizes = group_sizes(design.sizes, n) if design.sizes else ()
    group = np.repeat(np.arange(len(sizes)), sizes) if sizes else None
    if group is not None:
        shared = rng.random(n) < math.sqrt(design.correlation)
        u = np.where(shared, rng.random(len(sizes))[group], u)
    lost, gained = u < (changed + loss) / 2, u > 1 - (changed - loss) / 2
    before = np.where(lost, 1.0, np.where(gained, 0.0, rng.random(n) < 0.5))
    after = np.where(lost, 0.0, np.where(gained, 1.0, before))
    wavering = ~lost & ~gained & (rng.random(n) < 2 * noise / (1 - changed))
    chances = (np.where(wavering, 0.5, p)[:, np.newaxis] for p in (before, after))
    scores = [np.repeat((rng.random((n, k)) < p).astype(float), repeats, axis=1) for p in chances]
    pairs = pair_scores(*scores, None if group is None else [str(g) for g in group])
    _, ci95, ci90 = difference_intervals(pairs, 0.05, 1, 1000)
    if ci95[1] >= 0:
        return False, ci90[0] > -margin
    p = mcnemar_exact(*pairs.flips) if is_simple(pairs) else sign_flip_test(pairs.sums, pairs.unit, 1, 1000)
    return p < 0.05, ci90[0] > -margin


def _line(formula: float, hits: list[bool], **facts: Any) -> dict[str, Any]:
    return {**facts, "formula": round(100 * formula, 1), "simulated": round(100 * float(np.mean(hits)), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=4000)
    studies = parser.parse_args().studies
    for name, lines in (
        ("single", single(studies)),
        ("several", several(studies // 4)),
        ("planned", planned(studies)),
    ):
        farthest = 0.0
        for line in lines:
            farthest = max(farthest, abs(line["formula"] - line["simulated"]))
            print(json.dumps(line), flush=True)
        print(json.dumps({"cells": name, "largest_distance": round(farthest, 1)}))


if __name__ == "__main__":
    main()
