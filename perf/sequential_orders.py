"""Two graded sets of answers to the same questions, compared with looks in random orders of the questions.

    OMP_NUM_THREADS=1 python perf/sequential_orders.py BASELINE.jsonl.gz CANDIDATE.jsonl.gz [--margin 1] [--orders 200]

Lines hold `question_id` and `correct`. Prints one JSON line: the mean share of the questions asked and how the orders
ended, in percent.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections import Counter
from pathlib import Path

import numpy as np
from sequential_coverage import Binary, rule_of


def read(path: Path) -> dict[int, bool]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return {row["question_id"]: bool(row["correct"]) for row in map(json.loads, lines)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("baseline", type=Path)
    parser.add_argument("candidate", type=Path)
    parser.add_argument("--margin", type=float, default=1.0, help="in points")
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    ours, theirs = read(given.baseline), read(given.candidate)
    both = sorted(ours.keys() & theirs.keys())
    flips = np.array([(ours[i] and not theirs[i], theirs[i] and not ours[i]) for i in both])
    cell, rng = Binary(rule_of(len(both), given.margin / 100), 0.0, 0.0), np.random.default_rng(given.seed)
    asked, ends = [], Counter[str]()
    for _ in range(given.orders):
        path = flips[rng.permutation(len(both))].cumsum(axis=0)[np.array(cell.rule.looks) - 1]
        look, by = cell.stop(path)
        asked.append(cell.rule.looks[look] / len(both))
        ends[by or "none"] += 1
    lost, gained = flips.sum(axis=0).tolist()
    row = {"items": len(both), "lost": lost, "gained": gained, "margin": given.margin, "orders": given.orders}
    ended = {by: round(100 * count / given.orders, 1) for by, count in ends.items()}
    print(json.dumps(row | {"asked": round(100 * float(np.mean(asked)), 1)} | ended))


if __name__ == "__main__":
    main()
