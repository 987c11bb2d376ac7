"""How the order of requests changes a variant's generation, from the real answer lengths of a finished run.

    python perf/request_order.py RUN

For every variant but the first, the lengths that the variants before it gave are known, as in a run. A step of the
engine takes FIXED + EACH * (answers under way) seconds and gives one token to each; a free place is filled at once.
FIXED and EACH are those of a 0.5B model on an H100, fitted to a visit's throughput; only ratios are printed: the time
of each order over that of perfect knowledge. `budget` takes token budgets alone, `measured` the lengths alone, `risk`
what bitparity does, `shuffled` no order.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
from collections.abc import Sequence
from pathlib import Path

from bitparity.cluster.pieces import PROMPT_COST
from bitparity.generation.plan import expected_tokens
from bitparity.store.run import Run

FIXED, EACH = 0.006, 24e-6  # seconds a step, seconds a token
PLACES = (1024, 256, 64)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    run = Run(parser.parse_args().run)
    study, exams = run.study(), run.environment().variants
    known: dict[tuple[str, str], int] = {}
    for name in study.variants:
        answers = []  # (item, budget, tokens, prompt tokens)
        for spec in study.benchmarks:
            budget = exams[name].sampling[spec.name]["max_tokens"]
            for (item, _), sample in run.samples(name, spec.name).items():
                answers.append(((spec.name, item), budget, sample.tokens, sample.prompt_tokens))
        if known:
            orders = {
                "budget": lambda a: -a[1],
                "measured": lambda a: -known.get(a[0], a[1]),
                "risk": lambda a: -expected_tokens(known.get(a[0]), a[1]),
                "shuffled": lambda a: random.random(),
            }
            random.seed(0)
            for places in PLACES:
                best = seconds(sorted(answers, key=lambda a: -a[2]), places)
                ratios = {key: seconds(sorted(answers, key=order), places) / best for key, order in orders.items()}
                rounded = {key: round(ratio, 3) for key, ratio in ratios.items()}
                print(json.dumps({"variant": name, "answers": len(answers), "places": places, **rounded}))
        for item, _, tokens, _ in answers:
            known[item] = max(known.get(item, 0), tokens)


def seconds(answers: Sequence[tuple[object, int, int, int]], places: int) -> float:
    """The time of all answers, started in this order."""
    waiting = iter(answers)
    ends: list[int] = []  # the steps at which the answers under way end
    step, took = 0, 0.0
    while True:
        while len(ends) < places and (answer := next(waiting, None)) is not None:
            heapq.heappush(ends, step + max(1, answer[2]))
            took += EACH * PROMPT_COST * answer[3]
        if not ends:
            return took
        took += (ends[0] - step) * (FIXED + EACH * len(ends))
        step = heapq.heappop(ends)


if __name__ == "__main__":
    main()
