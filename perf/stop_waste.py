"""Tokens that a stop costs and time that blocks cost, from the real answer lengths of a finished run.

    python perf/stop_waste.py RUN [--benchmark mmlu_pro] [--items 12032] [--places 256]

The device is that of `request_order.py`; items beyond those of the run have lengths drawn from it, with both variants'
of one item together. Prints one JSON line for each candidate: the time of ten blocks over that of longest first without
blocks, and by look the tokens that are spent when its block is complete, answers under way included, over the share of
the items; `mean` weighs the looks as comparisons of MMLU-Pro without a loss stop (8 % flips, margin 1).
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
from request_order import EACH, FIXED
from sequential_coverage import Binary, rule_of

from bitparity.exam.looks import MANY_LOOKS
from bitparity.generation.plan import expected_tokens
from bitparity.store.run import Run

Answer = tuple[int, int, int]  # block, tokens that were expected, tokens


def spent(answers: list[Answer], places: int) -> tuple[float, dict[int, int]]:
    """Seconds of answers in this order, and the tokens spent by the time that a block and those before are complete."""
    left, waiting, running = Counter(block for block, _, _ in answers), iter(answers), list[tuple[int, int, Answer]]()
    step, took, done, complete, at = 0, 0.0, 0, 0, dict[int, int]()
    while True:
        while len(running) < places and (answer := next(waiting, None)) is not None:
            heapq.heappush(running, (step + max(1, answer[2]), step, answer))
        if not running:
            return took, at
        took += (running[0][0] - step) * (FIXED + EACH * len(running))
        step, _, (block, _, tokens) = heapq.heappop(running)
        done, left[block] = done + tokens, left[block] - 1
        while complete in left and left[complete] == 0:
            at[complete] = done + sum(step - began for _, began, _ in running)
            complete += 1


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--benchmark", default="mmlu_pro")
    parser.add_argument("--items", type=int, default=12032)
    parser.add_argument("--places", type=int, default=256)
    parser.add_argument("--studies", type=int, default=300)
    given = parser.parse_args()
    run, chosen = Run(given.run), random.Random(1)
    study = run.study()
    budget = run.environment().variants[study.baseline].sampling[given.benchmark]["max_tokens"]
    lengths = {name: run.lengths(name, given.benchmark) for name in study.variants}
    cell = Binary(rule_of(given.items, 0.01), 0.08, 0.0)
    looks = Counter(cell.stop(path)[0] for path in cell.paths(np.random.default_rng(1), given.studies))
    for name in study.candidates:
        both = sorted(lengths[study.baseline].keys() & lengths[name].keys())
        items = [*both, *chosen.choices(both, k=max(0, given.items - len(both)))]
        items = chosen.sample(items, given.items)
        answers = [
            (row * MANY_LOOKS // given.items, round(expected_tokens(lengths[study.baseline][item], budget)), tokens)
            for row, item in enumerate(items)
            if (tokens := lengths[name][item]) >= 0
        ]
        whole, _ = spent(sorted(answers, key=lambda a: -a[1]), given.places)
        took, at = spent(sorted(answers, key=lambda a: (a[0], -a[1])), given.places)
        total = sum(tokens for _, _, tokens in answers)
        over = {block: at[block] / total for block in at}
        mean = sum(count * over[look] for look, count in looks.items())
        share = sum(count * (look + 1) / MANY_LOOKS for look, count in looks.items())
        row = {"candidate": name, "items": given.items, "places": given.places, "time": round(took / whole, 4)}
        ratios = {block + 1: round(part / ((block + 1) / MANY_LOOKS), 3) for block, part in over.items()}
        asked = round(100 * share / given.studies, 1)
        print(json.dumps(row | {"tokens over items": ratios, "items asked": asked, "mean": round(mean / share, 4)}))


if __name__ == "__main__":
    main()
