"""How often the intervals cover the truth and the verdicts are wrong, over simulated studies.

    python perf/statistics_coverage.py [--studies 2000] [--only TEXT] [--quick]

Prints one JSON line a cell. A cell fixes the number of items `n`, samples an item `k`, the `level` of the scores,
the share `flip` of items that change, the items a cluster `size` and the true `loss`. Rates are percentages:
`cover` of the 95 % interval, `worse` (either verdict), `beyond`, `within` (equivalent, non-inferior or worse within
the margin) and `significant` (p < 0.05). The margin is 2 points, or the true loss where there is one; there
`within` is the rate of false claims, at most 5 nominally, and `beyond` at most 2.5; without a loss `worse` is,
at most 2.5. `ok` says whether cover and claims hold within Monte Carlo error.

The studies are drawn here with numpy alone and share no code with what they judge. Each variant's chance on
each item is drawn first (for k = 1: right or wrong), a share of the items moves, then the samples are drawn.
"""

from __future__ import annotations

import argparse
import json
import math
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from bitparity.stats import pair_scores
from bitparity.stats.paired import difference_intervals, is_simple
from bitparity.stats.significance import mcnemar_exact, sign_flip_test
from bitparity.stats.verdicts import decide

BASE = {"low": 0.03, "middle": 0.6, "high": 0.97}
SHAPE = {"low": (0.1, 3.0), "middle": (0.6, 0.4), "high": (3.0, 0.1)}
MARGIN = 0.02


@dataclass(frozen=True)
class Cell:
    """One setting of the simulation."""

    n: int
    k: int
    level: str
    flip: float
    size: int = 1
    loss: float = 0.0


def grid() -> Iterator[Cell]:
    for n in (30, 198, 500, 12_032):
        for flip in (0.0, 0.02, 0.05, 0.1, 0.2):
            for level in ("low", "middle", "high"):
                for loss in (0.0, 0.02):
                    for k, size in ((1, 1), (4, 1), (16, 1), (1, 4), (4, 4)):
                        cell = Cell(n, k, level, flip, size, loss)
                        if feasible(cell):
                            yield cell


def feasible(cell: Cell) -> bool:
    """Whether the loss and the flips fit the level of the scores."""
    if cell.k > 1:
        a, b = SHAPE[cell.level]
        return cell.loss <= a / (a + b)
    lost, gained = (cell.flip + cell.loss) / 2, (cell.flip - cell.loss) / 2
    return gained >= 0 and lost <= BASE[cell.level] and gained <= 1 - BASE[cell.level]


def draw(cell: Cell, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, list[str] | None]:
    """(baseline, candidate, groups) of one study; E[candidate - baseline] is minus the cell's loss."""
    clusters = math.ceil(cell.n / cell.size)
    shared = np.repeat(rng.random(clusters), cell.size)[: cell.n]
    own = rng.random(cell.n)
    u = np.where(rng.random(cell.n) < 0.7, shared, own) if cell.size > 1 else own
    groups = [str(i // cell.size) for i in range(cell.n)] if cell.size > 1 else None
    if cell.k == 1:
        right = rng.random(cell.n) < BASE[cell.level]
        lost, gained = (cell.flip + cell.loss) / 2, (cell.flip - cell.loss) / 2
        flips = np.where(right, u < lost / BASE[cell.level], u < gained / (1 - BASE[cell.level]))
        return right.astype(float), (right ^ flips).astype(float), groups
    a, b = SHAPE[cell.level]
    chance = rng.beta(a, b, cell.n)
    moved = np.where(u < cell.flip, rng.beta(a, b, cell.n), chance)
    moved *= 1 - cell.loss * (a + b) / a
    samples = [rng.random((cell.n, cell.k)) < p[:, np.newaxis] for p in (chance, moved)]
    return samples[0].astype(float), samples[1].astype(float), groups


def study(cell: Cell, rng: np.random.Generator, margin: float) -> tuple[bool, bool, str, str]:
    """(interval covers the truth, p < 0.05, verdict, method) of one simulated study."""
    pairs = pair_scores(*draw(cell, rng))
    method, ci95, ci90 = difference_intervals(pairs, 0.05, 1, 1000)
    p = mcnemar_exact(*pairs.flips) if is_simple(pairs) else sign_flip_test(pairs.sums, pairs.unit, 1, 1000)
    covers = ci95[0] - 1e-9 <= -cell.loss <= ci95[1] + 1e-9
    return covers, p < 0.05, decide(ci95, ci90, p, margin), method


def simulate(cell: Cell, studies: int) -> dict[str, object]:
    """Rates over `studies` studies of a cell, in percent; the seed belongs to the cell."""
    rng = np.random.default_rng(zlib.crc32(repr(cell).encode()))
    results = [study(cell, rng, cell.loss or MARGIN) for _ in range(studies)]
    verdicts = Counter(verdict for _, _, verdict, _ in results)
    rates = {
        "cover": sum(r[0] for r in results),
        "significant": sum(r[1] for r in results),
        "worse": verdicts["worse_within_margin"] + verdicts["worse_beyond_margin"],
        "beyond": verdicts["worse_beyond_margin"],
        "within": verdicts["equivalent"] + verdicts["non_inferior"] + verdicts["worse_within_margin"],
    }
    percent = {name: round(100 * count / studies, 2) for name, count in rates.items()}
    methods = dict(Counter(r[3] for r in results))
    return {**asdict(cell), **percent, "methods": methods, "ok": holds(cell, percent, studies)}


def holds(cell: Cell, percent: dict[str, float], studies: int) -> bool:
    """Whether cover is at least 94 (92.5 for n = 30) and false claims at most nominal, within 3 standard errors."""

    def at_most(rate: float, nominal: float) -> bool:
        return rate <= nominal + 300 * math.sqrt(nominal / 100 * (1 - nominal / 100) / studies)

    fine = at_most(100 - percent["cover"], 6.0 if cell.n >= 198 else 7.5)
    if cell.loss == 0:
        return fine and at_most(percent["worse"], 2.5)
    return fine and at_most(percent["within"], 5.0) and at_most(percent["beyond"], 2.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--only", default="", help="run the cells whose description contains this, like 'n=198, k=4'")
    parser.add_argument("--quick", action="store_true", help="every fourth cell")
    args = parser.parse_args()
    cells = [cell for cell in grid() if args.only in repr(cell)][:: 4 if args.quick else 1]
    for cell in cells:
        print(json.dumps(simulate(cell, args.studies)), flush=True)


if __name__ == "__main__":
    main()
