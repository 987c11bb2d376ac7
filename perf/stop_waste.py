"""Tokens that a stop costs and time that blocks cost, from the real answer lengths of a finished run.

    OMP_NUM_THREADS=1 python perf/stop_waste.py RUN [--benchmark mmlu_pro] [--items 12032] [--places 256]

The device is that of `request_order.py`; items beyond those of the run have lengths drawn from it, with both variants'
of one item together. The studies are of a margin and flips as given, at a true loss. Prints two JSON lines for each
candidate, one without holding the next block back where a stop is likely (`generation.stops`), one with it: `tokens`
are those spent at the stop, answers under way included, over the mean share of the items; `time` is that of ten blocks
and no stop over longest first without blocks, `ended` the mean time to the end of a study over the same.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
from bisect import bisect_right
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from request_order import EACH, FIXED
from sequential_coverage import Binary, counted, rule_of

from bitparity.generation.plan import expected_tokens
from bitparity.generation.stops import FRESH, LIKELY
from bitparity.stats.looks import chance_of_stop
from bitparity.stats.sequential import Look
from bitparity.store.run import Run

Answer = tuple[int, int, int, int]  # block, tokens that were expected, tokens, row


class Study:
    """One study on the device: `flips` has -1, 0 or 1 for each row; with None it is never looked at."""

    def __init__(self, answers: list[Answer], cell: Binary, flips: np.ndarray | None, hold: bool) -> None:
        self.cell, self.flips, self.hold = cell, flips, hold
        self.waiting, self.next = answers, 0
        self.left = Counter(answer[0] for answer in answers)
        self.changed = np.zeros((len(self.left), 3), dtype=int)  # lost, gained, answered
        self.complete = self.asked_at = 0
        self.chance = 0.0

    def held(self) -> bool:
        """As `Stops.held`, with forecasts as often as there."""
        if not self.hold or self.waiting[self.next][0] <= self.complete:
            return False
        missing = self.left[self.complete]
        if not self.asked_at or missing < FRESH * self.asked_at:
            lost, gained, answered = self.changed[: self.complete + 1].sum(axis=0).tolist()
            pairs = counted(answered, lost, gained)
            self.chance = chance_of_stop(replace(pairs, look=Look(self.cell.rule, self.complete)))
            self.asked_at = missing
        return self.chance >= LIKELY

    def stops(self, answer: Answer) -> bool:
        """Take an answer in; whether a look stops the study."""
        block, *_, row = answer
        flip = 0 if self.flips is None else int(self.flips[row])
        self.changed[block] += (flip < 0, flip > 0, 1)
        self.left[block] -= 1
        while self.complete < len(self.left) - 1 and not self.left[self.complete]:
            lost, gained, _ = self.changed[: self.complete + 1].sum(axis=0).tolist()
            if self.flips is not None and self.cell.claim(self.complete, lost, gained):
                return True
            self.complete, self.asked_at, self.chance = self.complete + 1, 0, 0.0
        return False

    def run(self, places: int) -> tuple[float, int, int]:
        """(seconds, tokens spent, look at the end)."""
        running, step, took, done = list[tuple[int, int, Answer]](), 0, 0.0, 0
        while True:
            while len(running) < places and self.next < len(self.waiting) and not self.held():
                answer = self.waiting[self.next]
                heapq.heappush(running, (step + max(1, answer[2]), step, answer))
                self.next += 1
            if not running:
                return took, done, self.complete
            took += (running[0][0] - step) * (FIXED + EACH * len(running))
            step, _, answer = heapq.heappop(running)
            done += answer[2]
            if self.stops(answer):
                return took, done + sum(step - began for _, began, _ in running), self.complete


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--benchmark", default="mmlu_pro")
    parser.add_argument("--items", type=int, default=12032)
    parser.add_argument("--places", type=int, default=256)
    parser.add_argument("--studies", type=int, default=60)
    parser.add_argument("--flips", type=float, default=0.08)
    parser.add_argument("--margin", type=float, default=0.01)
    parser.add_argument("--loss", type=float, default=0.0)
    given = parser.parse_args()
    run, chosen, rng = Run(given.run), random.Random(1), np.random.default_rng(1)
    study = run.study()
    budget = run.environment().variants[study.baseline].sampling[given.benchmark]["max_tokens"]
    lengths = {name: run.lengths(name, given.benchmark) for name in study.variants}
    cell = Binary(rule_of(given.items, given.margin), given.flips, given.loss)
    lost, gained, same = cell.rates
    flips = [rng.choice([-1, 1, 0], given.items, p=[lost, gained, same]) for _ in range(given.studies)]
    for name in study.candidates:
        both = sorted(lengths[study.baseline].keys() & lengths[name].keys())
        items = [*both, *chosen.choices(both, k=max(0, given.items - len(both)))]
        answers = [
            (
                bisect_right(cell.rule.looks, row),
                round(expected_tokens(lengths[study.baseline][item], budget)),
                max(0, lengths[name][item]),
                row,
            )
            for row, item in enumerate(chosen.sample(items, given.items))
        ]
        total = sum(tokens for _, _, tokens, _ in answers)
        whole, *_ = Study(sorted(answers, key=lambda a: -a[1]), cell, None, False).run(given.places)
        answers.sort(key=lambda a: (a[0], -a[1]))
        blocks, *_ = Study(answers, cell, None, False).run(given.places)
        for hold in (False, True):
            ended = [Study(answers, cell, each, hold).run(given.places) for each in flips]
            share = float(np.mean([cell.rule.looks[look] for *_, look in ended])) / given.items
            row = {"candidate": name, "items": given.items, "places": given.places, "held": hold}
            row |= {"studies": given.studies, "loss": given.loss, "asked": round(100 * share, 1)}
            row |= {"tokens": round(float(np.mean([tokens for _, tokens, _ in ended])) / total / share, 4)}
            row |= {"time": round(blocks / whole, 4)}
            print(
                json.dumps(row | {"ended": round(float(np.mean([took for took, *_ in ended])) / whole, 4)}), flush=True
            )


if __name__ == "__main__":
    main()
