"""Grades while the answers come, so that nothing waits for them at the end and people see how it goes.

Code is tested on the cores that the engine leaves idle; plain graders take a thread, slow ones a process. Whatever
is not graded here is left for `grades.grade_variant`: nothing depends on it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from bitparity.benchmarks.contract import Benchmark
from bitparity.generation.prepare import Prepared
from bitparity.grading.live import Beside, Job, grade_job
from bitparity.grading.passes import GRADER_TIMEOUT, GradeSheet, opens_reasoning
from bitparity.grading.process_pool import Crew
from bitparity.records import Grade, Sample

Shown = Callable[[str, str, int, float | None], None]
"""`shown(benchmark, item, sample, score)`: a grade is there."""


class LiveSheets:
    """The grade sheets of one variant, filled beside the engine. `take` belongs to one thread.

    `test` gives the verdict on an answer whose code is run, wherever that is.
    """

    def __init__(
        self,
        prepared: Prepared,
        name: str,
        idle_cores: int,
        shown: Shown,
        test: Callable[[Job], Grade] = grade_job,
    ) -> None:
        self._shown = shown
        self._sheets = {
            spec.name: GradeSheet(
                prepared.run, name, spec, prepared.exams[spec.name], prepared.graders[spec.name], again=False
            )
            for spec in prepared.study.benchmarks
            if spec.name in prepared.exams and _fits(prepared.graders[spec.name].benchmark, idle_cores)
        }
        for benchmark, sheet in self._sheets.items():
            for (item, sample), grade in sheet.grades.items():
                shown(benchmark, item, sample, grade.score)
        self._code = {name for name, sheet in self._sheets.items() if sheet.grader.benchmark.runs_code}
        self._crew = Beside(idle_cores if self._code else 0, self._keep_one, test)
        plain = {name: sheet for name, sheet in self._sheets.items() if name not in self._code}
        self._plain = _PlainGraders(plain, self._show, idle_cores)

    def _keep_one(self, job: Job, grade: Grade) -> None:
        self._sheets[job.sample.benchmark].keep([(job, grade)])
        self._show([(job, grade)])

    def _show(self, graded: list[tuple[Job, Grade]]) -> None:
        for job, grade in graded:
            self._shown(job.sample.benchmark, job.sample.item, job.sample.sample, grade.score)

    def take(self, samples: list[Sample]) -> None:
        """Samples that have been stored: graded where there is time."""
        for sample in samples:
            if sample.benchmark in self._code and (job := self._sheets[sample.benchmark].take(sample)) is not None:
                self._crew.offer(job)
        self._plain.put([s for s in samples if s.benchmark in self._sheets and s.benchmark not in self._code])

    def close(self, *, drop: bool = False) -> None:
        """Finish what was taken. Raises what a grader could not store. With `drop` nothing more is kept."""
        try:
            self._crew.close(drop=drop)
            self._plain.close(drop=drop)
        finally:
            for sheet in self._sheets.values():
                sheet.close()


def _fits(benchmark: Benchmark, idle_cores: int) -> bool:
    """Whether a benchmark's answers are graded beside the engine: a judge is asked about all at once, later."""
    plain = not (benchmark.runs_code or benchmark.slow_grader)
    return benchmark.judge is None and (plain or idle_cores > 0)


class _PlainGraders:
    """One thread for what runs no code; a slow grader has processes beside it, which a hanging answer cannot hold up.

    A burst's grades are written together: one wait for the disk, not one for each. A slow grader has one process while
    answers come in one by one, and up to `most` where many wait.
    """

    def __init__(
        self, sheets: Mapping[str, GradeSheet], show: Callable[[list[tuple[Job, Grade]]], None], most: int
    ) -> None:
        self._sheets, self._show, self._most = sheets, show, most
        self._queue: queue.SimpleQueue[list[Sample] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._failure: BaseException | None = None
        self._dropped = False
        self._thread = threading.Thread(target=self._work, name="plain-grader", daemon=True)
        if sheets:
            self._thread.start()

    def put(self, samples: list[Sample]) -> None:
        if samples:
            self._queue.put(samples)

    def _work(self) -> None:
        try:
            with ExitStack() as stack:
                slow = {name: sheet for name, sheet in self._sheets.items() if _is_slow(sheet)}
                crews = {name: stack.enter_context(_crew(sheet, self._most)) for name, sheet in slow.items()}
                while (samples := self._next()) is not None:
                    for name, sheet in self._sheets.items():
                        self._grade(sheet, crews.get(name), [s for s in samples if s.benchmark == name])
        except BaseException as error:
            self._failure = error

    def _next(self) -> list[Sample] | None:
        """All that waits; None at the end."""
        samples = self._queue.get()
        while samples is not None and not self._queue.empty():
            more = self._queue.get()
            if more is None:
                self._queue.put(None)  # the end, once these are graded
                break
            samples = samples + more
        return None if self._dropped else samples

    def _grade(self, sheet: GradeSheet, crew: Crew | None, samples: list[Sample]) -> None:
        jobs = [job for job in map(sheet.take, samples) if job is not None]
        if not jobs:
            return
        pairs = [(job.item, job.sample) for job in jobs]
        graded = list(zip(jobs, map(grade_job, jobs) if crew is None else crew.grade(pairs), strict=True))
        with self._lock:
            if not self._dropped:
                sheet.keep(graded)
                self._show(graded)

    def close(self, *, drop: bool) -> None:
        with self._lock:
            self._dropped = drop
        self._queue.put(None)
        if self._thread.is_alive() and not drop:
            self._thread.join()
        if self._failure is not None and not drop:
            raise self._failure


def _is_slow(sheet: GradeSheet) -> bool:
    return sheet.grader.benchmark.slow_grader


def _crew(sheet: GradeSheet, most: int) -> Crew:
    opened = opens_reasoning(sheet.exam, sheet.spec)
    return Crew(sheet.grader.benchmark, sheet.spec.protocol, most, GRADER_TIMEOUT, opened)
