"""What the statistics cost: a baseline and two candidates on 12,032 items, 10,000 resamples, one core.

    OMP_NUM_THREADS=1 python perf/statistics_speed.py

Prints one JSON line for each kind of scores: CPU and wall seconds of both comparisons, and the peak memory of
the process so far in MiB, the interpreter and its libraries included.
"""

from __future__ import annotations

import json
import resource
import time

import numpy as np

from bitparity.stats.arrays import pair_scores
from bitparity.stats.paired import compare_pairs

ITEMS = 12_032
KINDS = (
    "binary 1",
    "binary 1 grouped",
    "binary 4",
    "binary 16",
    "binary 4 grouped",
    "fractional",
    "fractional grouped",
)


def draw(kind: str, rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray], list[str] | None]:
    """(baseline, two candidates, groups)."""
    groups = [f"problem {i // 4}" for i in range(ITEMS)] if kind.endswith("grouped") else None
    if kind.startswith("fractional"):
        baseline = rng.random(ITEMS)
        return baseline, [np.clip(baseline + rng.normal(0, 0.1, ITEMS), 0, 1) for _ in range(2)], groups
    samples = int(kind.split()[1])
    chance = rng.beta(0.5, 0.5, (ITEMS, 1))
    drawn = [(rng.random((ITEMS, samples)) < chance).astype(float) for _ in range(3)]
    return drawn[0], drawn[1:], groups


def main() -> None:
    rng = np.random.default_rng(1)
    compare_pairs(pair_scores([0, 1], [1, 1]), margin=0.01)  # libraries loaded before the clock starts
    for kind in KINDS:
        baseline, candidates, groups = draw(kind, rng)
        wall, cpu = time.perf_counter(), time.process_time()
        for candidate in candidates:
            compare_pairs(pair_scores(baseline, candidate, groups), margin=0.01)
        line = {
            "scores": kind,
            "items": ITEMS,
            "variants": 3,
            "resamples": 10_000,
            "cpu_seconds": round(time.process_time() - cpu, 3),
            "wall_seconds": round(time.perf_counter() - wall, 3),
            "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
