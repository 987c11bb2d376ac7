"""Grades: kept beside the samples, made again at will, by the pass after a variant's answers or while they come."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bitparity
from bitparity.benchmarks.contract import Benchmark
from bitparity.benchmarks.judging import METRIC, judged
from bitparity.benchmarks.registry import load_benchmark
from bitparity.errors import UnavailableError
from bitparity.exam.chains import earlier
from bitparity.exam.frozen import Exam, load_if_frozen
from bitparity.grading import judge as judging
from bitparity.grading.live import Job, grade_job, grade_jobs, usable_cores
from bitparity.grading.process_pool import grade_all
from bitparity.grading.rules import ends_in_reasoning
from bitparity.progress.events import Events
from bitparity.records import Grade, Sample, SampleKey
from bitparity.schema import BenchmarkSpec, Study
from bitparity.store.full_disk import write_under
from bitparity.store.jsonl import AppendLog, write_atomically
from bitparity.store.rows import grade_to_row
from bitparity.store.run import Run, WritableRun

GRADES_SCHEMA = "bitparity/grades/1"


GRADER_TIMEOUT = 20.0  # seconds for one answer; Math-Verify needs milliseconds, its worst cases never end


@dataclass(slots=True)
class Grader:
    """A benchmark ready to grade; `facts` is what is recorded of how it runs code."""

    benchmark: Benchmark
    facts: dict[str, Any]


@contextmanager
def open_graders(
    run: Run, study: Study, not_run: dict[str, str] | None, unsafe_exec: bool
) -> Iterator[dict[str, Grader]]:
    """The benchmarks of a study, those that run code with their sandbox open.

    What one needs and is not there is found now: before the first run of a benchmark it is *not run* and the
    reason goes to `not_run`, later (and with `not_run` None) it is an error. Raises SandboxError where code cannot
    be confined.
    """
    graders: dict[str, Grader] = {}
    with ExitStack() as stack:
        for spec in study.benchmarks:
            frozen = run.exam_path(spec.name).exists()
            if not_run is None and not frozen:
                continue
            benchmark = load_benchmark(spec)
            facts: dict[str, Any] = {}
            if benchmark.runs_code:
                try:
                    facts = benchmark.open_grader(unsafe_exec)
                    stack.callback(benchmark.close_grader)
                except UnavailableError as error:
                    if not_run is None or frozen:
                        raise
                    not_run[spec.name] = str(error)
                    continue
            graders[spec.name] = Grader(benchmark, facts)
        yield graders


def grader_fingerprint() -> str:
    """A hash over the code that grades: with other code, stored grades are made again."""
    package = Path(bitparity.__file__).parent
    files = [package / "grading" / "rules.py", *sorted((package / "benchmarks").rglob("*.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


class GradeSheet:
    """The grades of one variant and benchmark while they are made: kept ones, new ones, and what is missing.

    With `again` false, grades made before by the same code are kept.
    """

    def __init__(self, run: Run, variant: str, spec: BenchmarkSpec, exam: Exam, grader: Grader, *, again: bool) -> None:
        self.spec, self.exam, self.grader = spec, exam, grader
        self.path = run.grades_path(variant, spec.name)
        self._full_disk = run.full_disk
        self.samples = run.samples(variant, spec.name)
        self.old = run.grades(variant, spec.name)
        same = not again and _same_grader(self.path)
        self.grades = {k: g for k, g in self.old.items() if g.score is not None and k in self.samples} if same else {}
        self._same = same
        if grader.benchmark.judge:
            self.grades = {k: g for k, g in self.grades.items() if METRIC in g.metrics}
        self.items = {entry.item.id: entry.item for entry in exam.items}
        self._opened = opens_reasoning(exam, spec)
        self._log: AppendLog | None = None

    @property
    def missing(self) -> list[SampleKey]:
        """The samples without a grade."""
        return [key for key in self.samples if key not in self.grades]

    def job(self, key: SampleKey) -> Job:
        """One answer to grade."""
        sample = self.samples[key]
        item = self.items[sample.item]
        before = earlier(self.items, self.samples, item, sample.sample)
        if before is None:
            reason = "an answer that it is built on is missing"
            sample, before = replace(sample, finish="error", error=sample.error or reason), []
        job = Job(self.grader.benchmark, self.spec.protocol, item, sample, self._opened)
        return job._replace(earlier=tuple(before))

    def take(self, sample: Sample) -> Job | None:
        """A sample that came in just now; None where there is nothing to grade."""
        key = (sample.item, sample.sample)
        self.samples[key] = sample
        return None if sample.finish == "error" or key in self.grades else self.job(key)

    def keep(self, graded: Sequence[tuple[Job, Grade]]) -> None:
        """Store grades. They are durable when this returns."""
        if self._log is None:
            if not self._same:
                self._replace([self._header()])
            self._log = AppendLog(self.path, self._full_disk)
        made = {(job.sample.item, job.sample.sample): grade for job, grade in graded}
        self._log.append(grade_to_row(key, grade) for key, grade in made.items())
        self.grades |= made

    def _header(self) -> dict[str, Any]:
        header = {"schema": GRADES_SCHEMA, "grader": grader_fingerprint(), "metric": self.exam.metric}
        return {**header, "execution": self.grader.facts} if self.grader.facts else header

    def _replace(self, rows: Sequence[dict[str, Any]]) -> None:
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        write_under(self._full_disk, lambda: write_atomically(self.path, lines))

    def close(self) -> None:
        """Close the file."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def write(self) -> list[SampleKey]:
        """Write all grades in the samples' order; the keys whose grade changed."""
        self.close()
        rows = [self._header(), *(grade_to_row(key, self.grades[key]) for key in self.samples)]
        self._replace(rows)
        return [key for key in self.old if key in self.grades and self.grades[key] != self.old[key]]


def grade_benchmark(
    run: Run, spec: BenchmarkSpec, variant: str, exam: Exam, grader: Grader, events: Events, *, again: bool
) -> tuple[list[SampleKey], dict[SampleKey, Grade]]:
    """Grade the samples of one variant and benchmark: the keys whose grade changed, and all grades.

    With `again` false, grades made before by the same code are kept.
    """
    sheet = GradeSheet(run, variant, spec, exam, grader, again=again)
    missing = sheet.missing
    benchmark = grader.benchmark
    asked = {key: sheet.samples[key] for key in missing} if benchmark.judge else {}
    inside = opens_reasoning(exam, spec)
    judgments = judging.verdicts(run, benchmark, variant, sheet.items, asked, events, ask=not again, opened=inside)
    if not missing and sheet.path.exists() and list(sheet.old) == list(sheet.samples):
        return [], sheet.grades
    with events.task(f"{variant}: grading {spec.name}", len(missing), "answers") as advance:
        if benchmark.runs_code:
            for job, grade in grade_jobs((sheet.job(key) for key in missing), usable_cores()):
                sheet.keep([(job, grade)])
                advance(1)
        else:
            for key, grade in zip(missing, _plain_grades(sheet, missing), strict=True):
                said = judgments.get(key)
                sheet.grades[key] = judged(grade, said, exam.metric == METRIC) if benchmark.judge else grade
                advance(1)
    return sheet.write(), sheet.grades


def _plain_grades(sheet: GradeSheet, missing: Sequence[SampleKey]) -> Iterator[Grade]:
    jobs = [sheet.job(key) for key in missing]
    if not sheet.grader.benchmark.slow_grader:
        return map(grade_job, jobs)
    return grade_all(
        sheet.grader.benchmark,
        [(job.item, job.sample) for job in jobs],
        sheet.spec.protocol,
        workers=os.cpu_count() or 1,
        timeout_s=GRADER_TIMEOUT,
        opened=opens_reasoning(sheet.exam, sheet.spec),
    )


def opens_reasoning(exam: Exam, spec: BenchmarkSpec) -> bool | None:
    """Whether the exam's prompts end inside a reasoning; None where no tokenizer has made them."""
    if not exam.rendered:
        return None
    return any(ends_in_reasoning(text, spec.protocol.reasoning) for e in exam.items for text in e.texts or ())


def _same_grader(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        with path.open(encoding="utf-8") as file:
            header = json.loads(file.readline() or "{}")
    except ValueError:  # torn: grades can be made again
        return False
    return isinstance(header, dict) and header.get("grader") == grader_fingerprint()


def grade_missing(path: Path, events: Events, *, unsafe_exec: bool = False) -> None:
    """Grade what of a run has no grade by this code."""
    for _ in _grade_run(path, events, unsafe_exec, again=False):
        pass


def regrade(path: Path, events: Events, *, unsafe_exec: bool = False) -> dict[tuple[str, str], list[SampleKey]]:
    """Grade a whole run again from its samples; the keys that changed by (variant, benchmark)."""
    return dict(_grade_run(path, events, unsafe_exec, again=True))


def _grade_run(
    path: Path, events: Events, unsafe_exec: bool, *, again: bool
) -> Iterator[tuple[tuple[str, str], list[SampleKey]]]:
    with WritableRun(path) as run, ExitStack() as stack:
        study = run.study()
        graders = stack.enter_context(open_graders(run, study, None, unsafe_exec))
        for spec in study.benchmarks:
            exam = load_if_frozen(run, spec.name)
            for variant in study.variants if exam else ():
                assert exam is not None
                changed, _ = grade_benchmark(run, spec, variant, exam, graders[spec.name], events, again=again)
                yield (variant, spec.name), changed
