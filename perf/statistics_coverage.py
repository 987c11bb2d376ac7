"""How often the intervals cover the truth and the verdicts are wrong, over simulated studies.

    OMP_NUM_THREADS=1 python perf/statistics_coverage.py [--studies 2000] [--only TEXT] [--every N]

Prints one JSON line a cell and one a summary. The whole grid takes about half an hour on one slow core. Rates are
percentages: `cover` of the 95 % interval, `worse` (either verdict), `beyond`, `within` (equivalent, non-inferior or
worse within the margin). The margin is 2 points, or the true loss where there is one; there `within` is the rate of
false claims, at most 5 nominally, and `beyond` at most 2.5; without a loss `worse` is, at most 2.5. `ok` says whether
cover (94, or 92.5 below 100 items) and claims hold within three standard errors of the simulation.

The studies are drawn here with numpy alone and share no code with what they judge. Five processes make them:

- flips: a share `flip` of all samples turns, independently of the item's other samples (`level` share right);
- moved: each item has a chance of being right (beta); a share `flip` of the items draws a new one;
- latent: chances are logistic in normal abilities, which differ between the variants by a normal of SD `flip`;
- few: a share `flip` of items, always right before, is never right again: the whole loss. At a loss of 0 the other
  items gain as much in small change. A fifth of the items wavers (chance 1/2);
- fractional: scores anywhere in [0, 1]; a share `flip` of the items changes by a skewed amount.

`groups` is "no", "fours" (four items a group) or "unequal" (the sizes of SciCode's 65 problems, 1 to 14 steps);
members of a group share their change for the greater part. "pooled" cells average four benchmarks.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from bitparity.stats.arrays import PairedScores, pair_scores
from bitparity.stats.paired import ENOUGH_FOR_STUDENT, difference_intervals, is_simple
from bitparity.stats.pooled import average_interval, stratified_sign_flip_test
from bitparity.stats.score_interval import score_excess
from bitparity.stats.significance import mcnemar_exact, sign_flip_test
from bitparity.stats.verdicts import decide

MARGIN = 0.02
RESAMPLES = 1000
BASE = {"low": 0.03, "middle": 0.6, "high": 0.97}
SHAPE = {"low": (0.1, 3.0), "middle": (0.6, 0.4), "high": (3.0, 0.1)}
ABILITY = {"low": -3.5, "middle": 0.5, "high": 3.5}
SPREAD = 1.5  # SD of the abilities
WAVERING = 0.2
STEPS = {1: 5, 2: 6, 3: 23, 4: 10, 5: 6, 6: 5, 7: 1, 8: 2, 9: 3, 12: 2, 14: 2}  # size: problems
SHARED = {"fours": 0.7, "unequal": 0.5}  # how often a member's change is its group's
POOLED = ((30, 16, "moved"), (198, 4, "moved"), (500, 1, "flips"), (2000, 1, "flips"))
Study = tuple[np.ndarray, np.ndarray, list[str] | None]


@dataclass(frozen=True)
class Cell:
    """One setting of the simulation."""

    process: str
    n: int
    k: int
    level: str
    flip: float
    groups: str = "no"
    loss: float = 0.0


def grid() -> Iterator[Cell]:
    """All cells whose loss and flips fit the level of the scores."""
    return filter(feasible, _cells())


def _cells() -> Iterator[Cell]:
    for loss in (0.0, MARGIN):
        for flip in (0.0, 0.02, 0.05, 0.1, 0.2):
            for level in BASE:
                yield from (Cell("flips", n, 1, level, flip, loss=loss) for n in (30, 198, 500, 12_032))
                yield from (Cell("moved", n, k, level, flip, loss=loss) for n in (30, 198) for k in (4, 16))
            yield from (Cell("moved", 500, k, level, flip, loss=loss) for k in (4, 16) for level in ("middle", "high"))
            yield from (Cell("flips", n, k, "middle", flip, loss=loss) for n in (30, 198) for k in (4, 16))
            yield from (Cell("fractional", n, 1, "middle", flip, loss=loss) for n in (30, 198, 500))
            eight_groups = [(30, "fours")] if flip in (0.05, 0.2) else []
            for n, groups in (*eight_groups, (198, "fours"), (500, "fours"), (288, "unequal")):
                yield Cell("flips", n, 1, "middle", flip, groups, loss)
                yield Cell("moved", n, 4, "middle", flip, groups, loss)
            for n, groups in ((198, "fours"), (288, "unequal")):
                yield from (Cell("flips", n, 1, level, flip, groups, loss) for level in ("low", "high"))
                yield from (Cell("moved", n, k, "high", flip, groups, loss) for k in (4, 16))
                yield Cell("fractional", n, 1, "middle", flip, groups, loss)
        for level in BASE:
            yield from (Cell("latent", n, k, level, 0.5, loss=loss) for n in (30, 198, 500) for k in (1, 4, 16))
            yield from (Cell("latent", 198, k, level, 0.7, "fours", loss) for k in (1, 4))
            yield from (Cell("latent", 288, k, level, 0.7, "unequal", loss) for k in (1, 4))
        for flip in (0.05, 0.2):
            yield Cell("moved", 12_032, 4, "middle", flip, loss=loss)
            yield Cell("flips", 12_032, 1, "middle", flip, "fours", loss)
        yield Cell("moved", 12_032, 16, "high", 0.1, loss=loss)
        yield Cell("fractional", 12_032, 1, "middle", 0.02 + loss, loss=loss)
        yield Cell("fractional", 2_000, 1, "middle", 0.5, loss=loss)
        yield from (Cell("pooled", 2728, 0, "middle", flip, loss=loss) for flip in (0.05, 0.1))
    for n in (30, 198, 500):
        for k in (4, 16):
            yield from (Cell("few", n, k, "middle", share, loss=share) for share in (0.02, 0.05))
            yield from (Cell("few", n, k, "middle", share) for share in (0.02, 0.05))


def feasible(cell: Cell) -> bool:
    """Whether the loss and the flips fit the level of the scores."""
    if cell.process == "flips":
        lost, gained = _rates(cell)
        return gained >= 0 and lost <= BASE[cell.level] and gained <= 1 - BASE[cell.level]
    if cell.process == "moved":
        a, b = SHAPE[cell.level]
        return cell.loss <= a / (a + b)
    return cell.process != "fractional" or 4 * cell.loss + cell.flip / 3 <= cell.flip


def _rates(cell: Cell) -> tuple[float, float]:
    return (cell.flip + cell.loss) / 2, (cell.flip - cell.loss) / 2


def membership(cell: Cell) -> np.ndarray | None:
    """The group of each item."""
    if cell.groups == "fours":
        return np.arange(cell.n) // 4
    if cell.groups == "unequal":
        sizes = [size for size, problems in STEPS.items() for _ in range(problems)]
        return np.repeat(np.arange(len(sizes)), sizes)
    return None


def draw(cell: Cell, rng: np.random.Generator) -> Study:
    """(baseline, candidate, groups) of one study; E[candidate - baseline] is minus the cell's loss."""
    group = membership(cell)
    names = None if group is None else [str(g) for g in group]
    u = rng.random(cell.n)
    if group is not None:
        u = np.where(rng.random(cell.n) < SHARED[cell.groups], rng.random(group.max() + 1)[group], u)
    if cell.process == "flips":
        return *_flips(cell, rng, u), names
    if cell.process == "fractional":
        return *_fractional(cell, rng, u), names
    chances = {"moved": _moved, "latent": _latent, "few": _few}[cell.process](cell, rng, u, group)
    before, after = (rng.binomial(cell.k, p) for p in chances)
    return _spread(before, cell.k), _spread(after, cell.k), names


def _spread(right: np.ndarray, k: int) -> np.ndarray:
    """Samples (items, k) of which `right` are 1; their order means nothing."""
    return (np.arange(k) < right[:, np.newaxis]).astype(float)


def _flips(cell: Cell, rng: np.random.Generator, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    base, (lost, gained) = BASE[cell.level], _rates(cell)
    right = rng.random((cell.n, cell.k)) < base
    draws = u[:, np.newaxis] if cell.k == 1 else rng.random((cell.n, cell.k))
    turns = np.where(right, draws < lost / base, draws < gained / (1 - base))
    return right.astype(float), (right ^ turns).astype(float)


def _fractional(cell: Cell, rng: np.random.Generator, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Baseline beta(2, 1); a change moves a beta(1, 3) part of the way to 0 (lost) or to 1 (gained)."""
    baseline, part = rng.beta(2, 1, cell.n), rng.beta(1, 3, cell.n)
    lost = 4 * cell.loss + cell.flip / 3
    goal = np.where(u < lost, 0.0, np.where(u < cell.flip, 1.0, baseline))
    return baseline, baseline + part * (goal - baseline)


def _moved(cell: Cell, rng: np.random.Generator, u: np.ndarray, _: Any) -> tuple[np.ndarray, np.ndarray]:
    a, b = SHAPE[cell.level]
    chance = rng.beta(a, b, cell.n)
    moved = np.where(u < cell.flip, rng.beta(a, b, cell.n), chance)
    return chance, moved * (1 - cell.loss * (a + b) / a)


def _latent(
    cell: Cell, rng: np.random.Generator, _: np.ndarray, group: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    ability, change = (_normal(cell, rng, group) for _ in range(2))
    ability = ABILITY[cell.level] + SPREAD * ability
    shift = _latent_shift(ABILITY[cell.level], cell.flip, cell.loss)
    return _logistic(ability), _logistic(ability + cell.flip * change - shift)


def _normal(cell: Cell, rng: np.random.Generator, group: np.ndarray | None) -> np.ndarray:
    own = rng.normal(size=cell.n)
    return own if group is None else math.sqrt(0.5) * (own + rng.normal(size=group.max() + 1)[group])


def _logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@lru_cache
def _latent_shift(ability: float, change: float, loss: float) -> float:
    """How much lower the candidate's abilities lie, by Gauss-Hermite quadrature and bisection."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(101)
    weights = weights / weights.sum()
    before = weights @ _logistic(ability + SPREAD * nodes)
    low, high = -20.0, 20.0
    for _ in range(60):
        shift = (low + high) / 2
        after = weights @ _logistic(ability - shift + math.hypot(SPREAD, change) * nodes)
        low, high = (shift, high) if before - after < loss else (low, shift)
    return shift


def _few(cell: Cell, rng: np.random.Generator, u: np.ndarray, _: Any) -> tuple[np.ndarray, np.ndarray]:
    hit = u < cell.flip
    if cell.loss:
        chance = np.where(hit | (rng.random(cell.n) >= WAVERING), 1.0, 0.5)
        return chance, np.where(hit, 0.0, chance)
    chance = np.full(cell.n, 0.5)
    return chance, np.where(hit, 0.0, 0.5 + 0.5 * cell.flip / (1 - cell.flip))


def bounds(pairs: PairedScores, truth: float, margin: float, check: bool) -> tuple[bool, Any, Any]:
    """Whether the 95 % interval covers the truth, and intervals of level 95 and 90 % that lead to the same verdict.

    A score interval is found by search. What is asked is only on which side of four values its bounds lie, so these
    are tested directly (ten times as fast); with `check` the search is made too, and must agree.
    """
    hull = len(pairs.sums) < 20  # there the interval is the hull of what the test accepts
    if is_simple(pairs) or hull or np.count_nonzero(pairs.sums) >= ENOUGH_FOR_STUDENT:
        _, ci95, ci90 = difference_intervals(pairs, 0.05, 1, RESAMPLES)
        return ci95[0] - 1e-9 <= truth <= ci95[1] + 1e-9, ci95, ci90
    tests = {"95": score_excess(pairs, 0.05), "90": score_excess(pairs, 0.1)}
    mean = pairs.difference

    def below(level: str, value: float) -> bool:
        return mean < value and tests[level](value) > 0

    high95 = -2 * margin if below("95", -margin) else -margin / 2 if below("95", 0.0) else 1.0
    low90 = 0.0 if mean > -margin and tests["90"](-margin) > 0 else -1.0
    stand_in = (-1.0, high95), (low90, 0.0 if below("90", margin) else 1.0)
    covers = abs(truth - mean) < 1e-12 or tests["95"](truth) <= 0
    if check:
        _, ci95, ci90 = difference_intervals(pairs, 0.05, 1, RESAMPLES)
        assert covers == (ci95[0] - 1e-8 <= truth <= ci95[1] + 1e-8), (pairs, ci95)
        assert decide(ci95, ci90, 0.0, margin) == decide(*stand_in, 0.0, margin), (pairs, ci95, ci90)
    return covers, *stand_in


def study(cell: Cell, rng: np.random.Generator, margin: float, check: bool) -> tuple[bool, str]:
    """(interval covers the truth, verdict) of one simulated study."""
    if cell.process == "pooled":
        return pooled_study(cell, rng, margin)
    pairs = pair_scores(*draw(cell, rng))
    covers, ci95, ci90 = bounds(pairs, -cell.loss, margin, check)
    p_value = 1.0
    if ci95[1] < 0:  # else the test cannot matter
        simple = is_simple(pairs)
        p_value = mcnemar_exact(*pairs.flips) if simple else sign_flip_test(pairs.sums, pairs.unit, 1, RESAMPLES)
    return covers, decide(ci95, ci90, p_value, margin, units=len(pairs.sums))


def pooled_study(cell: Cell, rng: np.random.Generator, margin: float) -> tuple[bool, str]:
    """The same for the average over the benchmarks of POOLED."""
    cells = [Cell(process, n, k, cell.level, cell.flip, loss=cell.loss) for n, k, process in POOLED]
    strata = [pair_scores(*draw(each, rng)) for each in cells]
    intervals = [difference_intervals(pairs, 0.05, 1, RESAMPLES) for pairs in strata]
    means = [pairs.difference for pairs in strata]
    ci95, ci90 = (average_interval(means, [each[level] for each in intervals]) for level in (1, 2))
    p_value = stratified_sign_flip_test(strata, 1, RESAMPLES) if ci95[1] < 0 else 1.0
    return ci95[0] <= -cell.loss <= ci95[1], decide(ci95, ci90, p_value, margin)


def simulate(cell: Cell, studies: int) -> dict[str, Any]:
    """Rates over `studies` studies of a cell, in percent; the seed belongs to the cell."""
    rng = np.random.default_rng(zlib.crc32(repr(cell).encode()))
    results = [study(cell, rng, cell.loss or MARGIN, number % 200 == 0) for number in range(studies)]
    verdicts = Counter(verdict for _, verdict in results)
    rates = {
        "cover": sum(covers for covers, _ in results),
        "worse": verdicts["worse_within_margin"] + verdicts["worse_beyond_margin"],
        "beyond": verdicts["worse_beyond_margin"],
        "within": verdicts["equivalent"] + verdicts["non_inferior"] + verdicts["worse_within_margin"],
    }
    percent = {name: round(100 * count / studies, 2) for name, count in rates.items()}
    return {**asdict(cell), **percent, "ok": holds(cell, percent, studies)}


def holds(cell: Cell, percent: dict[str, float], studies: int) -> bool:
    """Whether cover is at least 94 (92.5 below 100 items) and false claims nominal, within 3 standard errors."""

    def at_most(rate: float, nominal: float) -> bool:
        return rate <= nominal + 300 * math.sqrt(nominal / 100 * (1 - nominal / 100) / studies)

    fine = at_most(100 - percent["cover"], 6.0 if cell.n >= 100 else 7.5)
    if cell.loss == 0:
        return fine and at_most(percent["worse"], 2.5)
    return fine and at_most(percent["within"], 5.0) and at_most(percent["beyond"], 2.5)


def summary(results: Iterable[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """By items, samples and groups: cells, the range of cover, the largest false rates, and the cells not `ok`."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in results:
        name = "pooled" if row["process"] == "pooled" else f"n={row['n']} k={row['k']} groups={row['groups']}"
        rows.setdefault(name, []).append(row)
    table = {
        name: {
            "cells": len(cells),
            "cover": [f(r["cover"] for r in cells) for f in (min, _median, max)],
            "worse": max((r["worse"] for r in cells if not r["loss"]), default=None),
            "within": max((r["within"] for r in cells if r["loss"]), default=None),
            "beyond": max((r["beyond"] for r in cells if r["loss"]), default=None),
            "not_ok": sum(not r["ok"] for r in cells),
        }
        for name, cells in rows.items()
    }
    return {"summary": table, "seconds": round(seconds)}


def _median(values: Iterable[float]) -> float:
    return round(float(np.median(list(values))), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--only", default="", help="run the cells whose description contains this, like 'n=198, k=4'")
    parser.add_argument("--every", type=int, default=1, help="run every nth cell")
    args = parser.parse_args()
    results, start = [], time.process_time()
    for cell in [cell for cell in grid() if args.only in repr(cell)][:: args.every]:
        results.append(simulate(cell, args.studies))
        print(json.dumps(results[-1]), flush=True)
    print(json.dumps(summary(results, time.process_time() - start)))


if __name__ == "__main__":
    main()
