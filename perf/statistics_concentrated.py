"""Share of losses of the margin, wholly on few items, that pass for "within the margin", few items asked often.

    OMP_NUM_THREADS=1 python perf/statistics_concentrated.py [--studies 400] [--seed 3]

Prints one JSON line for each number of items, margin and samples: the chance that such a loss leaves no trace, and the
mean and the largest rate of false "within" over 12 settings, in percent (nominal 5), by the interval alone and with the
rule that the items must be enough. In a setting a share of the items wavers (right half the time); the others are
always right, or right or wrong for good; the loss takes the whole or half of what it hits.
"""

from __future__ import annotations

import argparse
import json
from itertools import product

import numpy as np

from bitparity.stats.arrays import pair_scores
from bitparity.stats.paired import difference_intervals
from bitparity.stats.verdicts import untraced_loss

SIZES = ((30, 0.05), (60, 0.02), (60, 0.05), (100, 0.02), (110, 0.03), (150, 0.02), (198, 0.02), (300, 0.02))
SETTINGS = tuple(product((1.0, 0.5), (0.1, 0.4, 0.8), (1.0, 0.5)))  # right of the steady, wavering, depth


def within(rng: np.random.Generator, n: int, k: int, margin: float, setting: tuple[float, float, float]) -> bool:
    """True if the 90 % interval of one study lies above the margin, which is the true loss."""
    base, wavering, depth = setting
    chance = np.where(rng.random(n) < wavering, 0.5, rng.random(n) < base)
    hit = rng.random(n) < margin / depth / ((1 - wavering) * base + wavering / 2)
    right = [rng.random((n, k)) < p[:, np.newaxis] for p in (chance, np.where(hit, chance * (1 - depth), chance))]
    return difference_intervals(pair_scores(*right), 0.05, 1, 1000)[2][0] > -margin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    for (n, margin), k in product(SIZES, (4, 16)):
        rates = [100 * np.mean([within(rng, n, k, margin, s) for _ in range(args.studies)]) for s in SETTINGS]
        enough = margin >= untraced_loss(n)
        row = {"items": n, "samples": k, "margin": margin, "untraced": round(100 * (1 - margin) ** n, 1)}
        row |= {"alone_mean": round(float(np.mean(rates)), 1), "alone_most": round(float(max(rates)), 1)}
        print(json.dumps(row | {"with_rule_most": row["alone_most"] if enough else 0.0}), flush=True)


if __name__ == "__main__":
    main()
