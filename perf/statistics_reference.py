"""Coverage and error rates with the mean of two runs of the baseline as the reference, over simulated studies.

    OMP_NUM_THREADS=1 python perf/statistics_reference.py [--studies 1000] [--seed 5]

Prints one JSON line a cell, in percent: `cover` of the 95 % interval (at least 94), `loss` shown without one (at most
2.5), `within` and `beyond` at a true loss of the margin (at most 5 and 2.5), and the mean width of the interval as a
share of that against the first run alone. Items waver, so that a share `noise` of the answers flips between two runs
of the baseline; a share `changed` has changed for good in the candidate, as often to better as to worse at no loss;
the loss is that of items lost for good. `level` is the share of the steady items that the baseline has right. With
`frozen` both runs are equal: decoding that repeats itself.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from bitparity.stats.arrays import PairedScores, pair_scores
from bitparity.stats.paired import difference_intervals
from bitparity.stats.significance import sign_flip_test
from bitparity.stats.verdicts import WITHIN, decide


@dataclass(frozen=True)
class Cell:
    """One setting; `margin` is the true loss where there is one."""

    n: int
    k: int
    level: float
    noise: float
    changed: float
    margin: float = 0.05
    frozen: bool = False
    groups: bool = False


def cells() -> Iterator[Cell]:
    """The settings."""
    for n, margin in ((100, 0.05), (198, 0.05), (500, 0.02), (2000, 0.02)):
        for level in (0.1, 0.6, 0.95):
            yield Cell(n, 1, level, 0.06, 0.0, margin)
            yield Cell(n, 1, level, 0.06, 0.06, margin)
        yield Cell(n, 1, 0.6, 0.0, 0.06, margin, frozen=True)
    for k in (4, 16):
        yield Cell(198, k, 0.6, 0.10, 0.04)
        yield Cell(60, k, 0.6, 0.10, 0.04)
    yield Cell(288, 1, 0.4, 0.06, 0.06, 0.05, groups=True)


def draw(cell: Cell, loss: float, rng: np.random.Generator) -> PairedScores:
    """One study against the mean of both runs."""
    n = cell.n
    u, right = rng.random(n), rng.random(n) < cell.level
    if cell.groups:  # a problem of four steps changes as one, half of the time
        u = np.where(rng.random(n) < 0.5, np.repeat(rng.random(n // 4), 4), u)
    changed = max(cell.changed, loss)
    lost, gained = u < (changed + loss) / 2, u > 1 - (changed - loss) / 2
    base = np.where(lost, 1.0, np.where(gained, 0.0, right))
    wavering = ~lost & ~gained & (rng.random(n) < 2 * cell.noise / (1 - changed))
    before = np.where(wavering, 0.5, base)
    after = np.where(lost, 0.0, np.where(gained, 1.0, before))
    first, second, candidate = (
        (rng.random((n, cell.k)) < p[:, np.newaxis]).astype(float) for p in (before, before, after)
    )
    groups = [str(g) for g in np.arange(n) // 4] if cell.groups else None
    return pair_scores(first, candidate, groups, first if cell.frozen else second)


def simulate(cell: Cell, studies: int, rng: np.random.Generator) -> dict[str, float]:
    """The rates of a cell."""
    count = dict.fromkeys(("cover", "cover_at_loss", "loss", "within", "beyond"), 0)
    widths = []
    for _ in range(studies):
        for truth in (0.0, cell.margin):
            pairs = draw(cell, truth, rng)
            _, ci95, ci90 = difference_intervals(pairs, 0.05, 1, 1000)
            p = sign_flip_test(pairs.sums, pairs.unit, 1, 1000) if ci95[1] < 0 else 1.0
            units = len(pairs.sums)
            verdict = decide(ci95, ci90, p, cell.margin, units=units)
            count["cover_at_loss" if truth else "cover"] += ci95[0] <= -truth <= ci95[1]
            if truth:
                count["within"] += verdict in WITHIN
                count["beyond"] += verdict == "worse_beyond_margin"
            else:
                count["loss"] += p < 0.05
                groups = [str(g) for g in pairs.cluster] if pairs.clustered else None
                alone = difference_intervals(pair_scores(pairs.baseline, pairs.candidate, groups), 0.05, 1, 1000)[1]
                widths.append((ci95[1] - ci95[0]) / (alone[1] - alone[0]))
    return {name: round(100 * hits / studies, 1) for name, hits in count.items()} | {"width": float(np.mean(widths))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    for cell in cells():
        print(json.dumps({**asdict(cell), **simulate(cell, args.studies, rng)}), flush=True)


if __name__ == "__main__":
    main()
