"""Rates of false claims of a family of comparisons, over simulated studies of 7 benchmarks x 3 candidates.

    OMP_NUM_THREADS=1 python perf/statistics_family.py [--studies 1000] [--seed 1]

Prints one JSON line a setting, in percent with its standard error. "at the margin": every true loss is its margin, and
the rate is that of any "beyond", at most 2.5; `alone` is the same without the correction. "no loss": the rate of any
loss shown, at most 2.5, and of the control's. "one loses": six benchmarks without a loss, MATH-500 with one of 8
points: the rate of "within" over all benchmarks together. The studies are drawn with numpy alone.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator

import numpy as np

from bitparity.results.verdicts import ComparisonKey, Judged, judge, pool_judged
from bitparity.stats.arrays import PairedScores, pair_scores

# benchmark: (items, samples, margin, share right, share of flips)
BENCHMARKS = {
    "mmlu_pro": (1000, 1, 0.01, 0.6, 0.10),
    "math500": (500, 1, 0.02, 0.8, 0.10),
    "hle": (400, 1, 0.02, 0.1, 0.06),
    "livecodebench": (175, 1, 0.03, 0.4, 0.12),
    "scicode": (288, 1, 0.03, 0.3, 0.10),
    "gpqa": (198, 4, 0.05, 0.5, 0.20),
    "aime24": (30, 16, 0.05, 0.6, 0.20),
}
CANDIDATES = ("fp8", "nvfp4", "int4")
CONTROL = "again"


def draw(bench: str, loss: float, rng: np.random.Generator) -> PairedScores:
    """One benchmark of one candidate; its own baseline, so the family is of independent tests, the hardest for Holm."""
    items, k, _, right, flips = BENCHMARKS[bench]
    base = rng.random((items, k)) < right
    draws = rng.random((items, k))
    lost, gained = (flips + loss) / 2 / right, (flips - loss) / 2 / (1 - right)
    return pair_scores(base.astype(float), (base ^ np.where(base, draws < lost, draws < gained)).astype(float))


def study(kind: str, rng: np.random.Generator) -> tuple[dict[ComparisonKey, PairedScores], dict[ComparisonKey, Judged]]:
    """One study, judged as a family."""
    pairs = {}
    for bench, (_, _, margin, _, _) in BENCHMARKS.items():
        loss = {"at the margin": margin, "no loss": 0.0, "one loses": 0.08 * (bench == "math500")}[kind]
        for name in (*CANDIDATES, CONTROL):
            pairs[bench, name] = draw(bench, 0.0 if name == CONTROL else loss, rng)
    return pairs, judge(pairs, margins(), dict.fromkeys(pairs, ()), CONTROL)


def margins() -> dict[str, float]:
    """By benchmark, fractions."""
    return {bench: values[2] for bench, values in BENCHMARKS.items()}


def simulate(kind: str, studies: int, seed: int) -> Iterator[tuple[str, float]]:
    """The rates of one setting, by name, as fractions."""
    rng = np.random.default_rng(seed)
    hits: dict[str, int] = {}
    for _ in range(studies):
        pairs, judged = study(kind, rng)
        own = [each for key, each in judged.items() if key[1] != CONTROL]
        again = [each for key, each in judged.items() if key[1] == CONTROL]
        told = {}
        if kind == "at the margin":
            told["any beyond"] = any(each.verdict == "worse_beyond_margin" for each in own)
            told["any beyond alone"] = any(
                each.comparison.ci95[1] < -each.comparison.margin and each.comparison.p_value < 0.05 for each in own
            )
        elif kind == "no loss":
            told["any loss"] = any(each.comparison.loss_shown for each in own)
            told["any loss of the control"] = any(each.comparison.loss_shown for each in again)
        else:
            pool = pool_judged(pairs, margins(), judged, CONTROL)[CANDIDATES[0]]
            told["within over all"] = pool.values()["verdict"] in ("equivalent", "non_inferior", "worse_within_margin")
            told["the average alone within"] = pool.pooled.verdict != "inconclusive"
            told["math500 beyond"] = judged["math500", CANDIDATES[0]].verdict == "worse_beyond_margin"
        for name, hit in told.items():
            hits[name] = hits.get(name, 0) + hit
    yield from ((name, count / studies) for name, count in hits.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    for kind in ("at the margin", "no loss", "one loses"):
        for name, rate in simulate(kind, args.studies, args.seed):
            error = math.sqrt(rate * (1 - rate) / args.studies)
            print(json.dumps({"setting": kind, name: round(100 * rate, 2), "se": round(100 * error, 2)}), flush=True)


if __name__ == "__main__":
    main()
