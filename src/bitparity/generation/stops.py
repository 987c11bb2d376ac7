"""Stops of one variant while it generates: looks as blocks of an exam become complete, and what need not be asked.

A look grades what it needs in the background thread; the engine goes on with the next block meanwhile. While the last
answers of a block are under way, the next block waits if the look is likely to stop the benchmark: what it would have
been asked by then is lost. That changes the order of work only, never which answers count.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from bitparity.exam.frozen import samples_asked
from bitparity.exam.stops import chance_in_run, reached_in_run
from bitparity.generation.background import BackgroundJobs
from bitparity.generation.blocks import Blocks
from bitparity.generation.prepare import Prepared
from bitparity.grading.passes import grade_benchmark
from bitparity.progress.events import BenchmarkStopped, Events, Noted
from bitparity.records import Request, Sample
from bitparity.stats.looks import By
from bitparity.store.rows import scan_samples

_WHY: dict[By, str] = {
    "regraded": "the grades of then made it stop",
    "within": "no loss beyond the margin",
    "beyond": "a loss beyond the margin",
    "futility": "all of them would most likely show neither a loss beyond the margin nor its absence",
}


LIKELY = 0.8  # the chance of a stop from which on the next block waits
FRESH = 0.5  # of the missing answers: with so few left of them the chance is computed again


class Stops:
    """The benchmarks of one variant that may stop early, and those that have.

    `take` belongs to the thread that stores; `stopped` may be looked at from any.
    """

    def __init__(self, prepared: Prepared, name: str, events: Events, background: BackgroundJobs) -> None:
        self.stopped: set[str] = set()
        self._prepared, self._name, self._events, self._background = prepared, name, events, background
        self._waiting: set[str] = set()  # benchmarks with a look to come
        graders = {key: grader.benchmark for key, grader in prepared.graders.items()}
        self._slow = {key for key, each in graders.items() if each.runs_code or each.slow_grader or each.judge}
        self._blocks: dict[str, Blocks] = {}
        self._chances: dict[str, tuple[int, float]] = {}  # of a stop at the look after so many blocks
        self._asked_at: dict[str, tuple[int, int]] = {}  # (blocks complete, answers missing) when that was asked for
        for spec, exam in prepared.asked if name in prepared.study.candidates else ():
            if exam.stop is not None:
                self._blocks[spec.name] = blocks = Blocks(spec, exam, exam.stop.looks)
                lines = scan_samples(prepared.run.samples_path(name, spec.name))
                self._look_soon(blocks, blocks.add((line.key, line.failed) for line in lines))

    @property
    def may_stop(self) -> set[str]:
        """The benchmarks that are looked at: their answers are graded for the looks."""
        return set(self._blocks)

    def wanted(self, request: Request) -> bool:
        """True while a request's benchmark goes on."""
        return request.benchmark not in self.stopped

    def held(self, request: Request) -> bool:
        """True while a request waits for the look before its block, which is likely to stop the benchmark.

        Never once the block is complete: nothing waits for a grade. Where grades take long there is no forecast.
        """
        blocks = self._blocks.get(request.benchmark)
        if blocks is None or not self.wanted(request) or not blocks.is_ahead(request.item):
            return False
        self._forecast_soon(blocks)
        return self._chances.get(request.benchmark, (-1, 0.0)) >= (blocks.complete, LIKELY)

    def _forecast_soon(self, blocks: Blocks) -> None:
        name, now = blocks.spec.name, (blocks.complete, blocks.missing)
        block, missing = self._asked_at.get(name, (-1, 0))
        if name not in self._slow and (block != now[0] or now[1] < FRESH * missing):
            self._asked_at[name] = now
            self._background.put(partial(self._forecast, blocks))

    def _forecast(self, blocks: Blocks) -> None:
        spec, block = blocks.spec, blocks.complete
        self._grade(blocks)
        chance = chance_in_run(self._prepared.run, self._prepared.study, spec, blocks.exam, self._name)
        self._chances[spec.name] = block, chance

    def take(self, samples: Iterable[Sample]) -> None:
        """Count stored samples; a block that is complete now is looked at soon."""
        for name, blocks in self._blocks.items():
            mine = (((s.item, s.sample), s.finish == "error") for s in samples if s.benchmark == name)
            self._look_soon(blocks, blocks.add(mine))

    def _look_soon(self, blocks: Blocks, more: bool) -> None:
        name = blocks.spec.name
        if more and not blocks.last and name not in self.stopped and name not in self._waiting:
            self._waiting.add(name)
            self._background.put(partial(self._look, blocks))

    def _look(self, blocks: Blocks) -> None:
        """Grade what is there of both variants, and stop if a look says so."""
        prepared, spec, exam = self._prepared, blocks.spec, blocks.exam
        self._waiting.discard(spec.name)
        self._grade(blocks)
        found = reached_in_run(prepared.run, prepared.study, spec, exam, self._name)
        if found is None or found.by is None or spec.name in self.stopped:
            return
        self.stopped.add(spec.name)
        self._events.emit(BenchmarkStopped(self._name, spec.name, found.items * samples_asked(exam, spec)))
        asked = f"{found.items:,} of {len(exam.items):,} questions"
        self._events.emit(Noted(f"{self._name}: {spec.name} stopped after {asked}: {_WHY[found.by]}"))

    def _grade(self, blocks: Blocks) -> None:
        prepared, grader = self._prepared, self._prepared.graders[blocks.spec.name]
        for name in (prepared.study.baseline, self._name):
            grade_benchmark(prepared.run, name, blocks.exam, grader, self._events, again=False)
