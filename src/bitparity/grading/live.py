"""Grading while the engine generates, on the cores that the engine leaves idle.

It never holds the engine up: answers whose turn has not come when the engine ends are left for the pass after the run,
which has all cores. Nothing depends on what is graded here. A sample is stored before it is graded, and a grade before
it counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from bitparity.benchmarks.contract import Benchmark
from bitparity.exam.frozen import Exam
from bitparity.grading.passes import Grader, GradeSheet, by_key, tell_grades
from bitparity.grading.process_pool import Graded, GradingPool
from bitparity.grading.rules import Job, grade_job
from bitparity.progress.events import Events
from bitparity.records import Grade, Sample
from bitparity.store.run import Run


class LiveGrading:
    """Grades one variant's samples as they are stored. `take` belongs to one thread.

    `run_code` grades an answer whose code is run, on whichever host. Benchmarks of one kind share a pool.
    """

    def __init__(
        self,
        run: Run,
        variant: str,
        exams: Mapping[str, Exam],
        graders: Mapping[str, Grader],
        idle_cores: int,
        events: Events,
        run_code: Callable[[Job], Grade] = grade_job,
    ) -> None:
        self._variant, self._events = variant, events
        self._graded: dict[str, tuple[GradeSheet, GradingPool]] = {}  # by benchmark
        pools: dict[tuple[bool, bool], GradingPool] = {}
        for name in exams:
            benchmark = graders[name].benchmark
            if not _graded_live(benchmark, idle_cores):
                continue
            sheet = GradeSheet(run, variant, exams[name], graders[name], again=False)
            kind = (benchmark.runs_code, benchmark.slow_grader)
            if kind not in pools:
                pools[kind] = GradingPool(benchmark, max(1, idle_cores), self._keep, run_code, live=True)
            self._graded[name] = sheet, pools[kind]
            tell_grades(events, variant, name, sheet.grades)

    def _keep(self, graded: Graded) -> None:
        for name, (sheet, _) in self._graded.items():
            if own := [(job, grade) for job, grade in graded if job.sample.benchmark == name]:
                sheet.append(own)
                tell_grades(self._events, self._variant, name, by_key(own))

    def take(self, samples: Sequence[Sample]) -> None:
        """Grade stored samples where there is time."""
        for sample in samples:
            if (graded := self._graded.get(sample.benchmark)) and (job := graded[0].take(sample)) is not None:
                graded[1].put(job)

    def close(self, *, drop: bool = False) -> None:
        """Finish what was taken. Raises the first failure to grade or store. With `drop` nothing more is kept."""
        with ExitStack() as stack:
            for sheet, _ in self._graded.values():
                stack.callback(sheet.close)
            for pool in {pool for _, pool in self._graded.values()}:
                stack.callback(pool.close, drop=drop)


def _graded_live(benchmark: Benchmark, idle_cores: int) -> bool:
    """True for a benchmark whose answers are graded beside the engine. A judge is asked after the run, all at once."""
    fast = not (benchmark.runs_code or benchmark.slow_grader)
    return benchmark.judge is None and (fast or idle_cores > 0)
