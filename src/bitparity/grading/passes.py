"""Grading passes over stored samples: what is missing after a run, or everything again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from bitparity.benchmarks.contract import Benchmark
from bitparity.benchmarks.judging import METRIC, judged
from bitparity.benchmarks.registry import load_benchmark
from bitparity.errors import DataError, MissingDependencyError, SandboxError, StoreError, UnavailableError
from bitparity.exam.chains import earlier
from bitparity.exam.frozen import Exam, check_items, frozen_exams
from bitparity.exam.stops import note_stops
from bitparity.grading.fingerprint import graded_otherwise, grader_fingerprint
from bitparity.grading.judge import judge_samples
from bitparity.grading.process_pool import Graded, GradingPool
from bitparity.grading.reasoning import ends_in_reasoning
from bitparity.grading.rules import Job, grade_sample
from bitparity.hardware.cores import usable_cores
from bitparity.progress.events import Events, SampleGraded
from bitparity.records import Grade, Sample, SampleKey
from bitparity.schema import LM_EVAL_PREFIX, BenchmarkSpec, Study
from bitparity.store.jsonl import AppendLog, write_records
from bitparity.store.rows import grade_to_row
from bitparity.store.run import Run, WritableRun

Reasons = dict[str, str]  # why benchmarks are not graded, by name
GRADES_SCHEMA = "bitparity/grades/1"
REGRADED = 1000  # stored grades of a variant and benchmark that are tried again when they are read


@dataclass(slots=True)
class Grader:
    """A benchmark ready to grade; `facts` is what is recorded of how it runs code."""

    benchmark: Benchmark
    facts: dict[str, Any]


@contextmanager
def open_graders(
    run: Run, study: Study, not_run: Reasons | None, unsafe_exec: bool, left_out: Reasons | None = None
) -> Iterator[dict[str, Grader]]:
    """The benchmarks of a study, those that run code with their sandbox open.

    What a benchmark needs and lacks is found now. Before its first run it is *not run* and the reason goes to `not_run`
    (with None such benchmarks are not opened); later it is left out with the reason in `left_out`, or with None an
    error. Raises DataError, and SandboxError where code cannot be confined.
    """
    graders: dict[str, Grader] = {}
    with ExitStack() as stack:
        for spec in study.benchmarks:
            frozen = run.exam_path(spec.name).exists()
            if not_run is None and not frozen:
                continue
            try:
                benchmark = load_benchmark(spec)
                facts = benchmark.open_grader(unsafe_exec) if benchmark.runs_code else {}
            except (DataError, MissingDependencyError, SandboxError) as error:
                reasons = left_out if frozen else not_run
                if reasons is None or not (frozen or isinstance(error, UnavailableError | MissingDependencyError)):
                    raise
                reasons[spec.name] = str(error)
                continue
            if benchmark.runs_code:
                stack.callback(benchmark.close_grader)
            graders[spec.name] = Grader(benchmark, facts)
        yield graders


class GradeSheet:
    """The grades file of one variant and benchmark: kept grades, new ones, and which are missing.

    With `again` false, grades made before by the same code are kept.
    """

    def __init__(self, run: Run, variant: str, exam: Exam, grader: Grader, *, again: bool) -> None:
        self.exam, self.grader, self.benchmark, self.spec = exam, grader, grader.benchmark, grader.benchmark.spec
        self.path = run.grades_path(variant, self.spec.name)
        self._write = run.write
        self.samples = run.samples(variant, self.spec.name)
        try:
            self.old = run.grades(variant, self.spec.name)
        except StoreError:  # damaged or edited: making all again mends it
            if not again:
                raise
            self.old = {}
        self._fingerprint = grader_fingerprint(self.benchmark)
        self._same = not again and run.grades_header(variant, self.spec.name).get("grader") == self._fingerprint
        kept = {key: grade for key, grade in self.old.items() if key in self.samples and grade.score is not None}
        if self.benchmark.judge is not None:
            kept = {key: grade for key, grade in kept.items() if METRIC in grade.metrics}
        self.grades = kept if self._same else {}
        self.items = {entry.item.id: entry.item for entry in exam.items}
        check_items(exam, self.samples, run.samples_path(variant, self.spec.name))
        self.opened = opens_reasoning(exam, self.spec)
        self._log: AppendLog | None = None

    @property
    def missing(self) -> list[SampleKey]:
        """The samples without a grade."""
        return [key for key in self.samples if key not in self.grades]

    def job(self, key: SampleKey) -> Job:
        """One sample to grade."""
        sample, item = self.samples[key], self.items[key[0]]
        before = earlier(self.items, self.samples, item, sample.sample)
        if before is None:
            reason = "an answer that it is built on is missing"
            sample = replace(sample, finish="error", error=sample.error or reason)
        return Job(self.benchmark, item, sample, self.spec.protocol, self.opened, tuple(before or ()))

    def take(self, sample: Sample) -> Job | None:
        """Add a sample that was stored just now; None where there is nothing to grade."""
        key = (sample.item, sample.sample)
        self.samples[key] = sample
        return None if sample.finish == "error" or key in self.grades else self.job(key)

    def add(self, graded: Graded) -> None:
        """Add grades; `write` stores them."""
        self.grades |= by_key(graded)

    def append(self, graded: Graded) -> None:
        """Add grades to the file. They are durable when this returns."""
        if self._log is None:
            if not self._same:
                self._replace({})
            self._log = AppendLog(self.path, self._write)
        self._log.append(grade_to_row(key, grade) for key, grade in by_key(graded).items())
        self.add(graded)

    def _replace(self, grades: Mapping[SampleKey, Grade]) -> None:
        """Write the file anew: its header and these grades."""
        header: dict[str, Any] = {"schema": GRADES_SCHEMA, "grader": self._fingerprint, "metric": self.exam.metric}
        header |= {"execution": self.grader.facts} if self.grader.facts else {}
        rows = [grade_to_row(key, grade) for key, grade in grades.items()]
        self._write(lambda: write_records(self.path, [header, *rows]))

    def close(self) -> None:
        """Close the file."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def write(self) -> list[SampleKey]:
        """Write all grades in the samples' order; the keys whose grade changed."""
        self.close()
        self._replace({key: self.grades[key] for key in self.samples})
        return [key for key in self.old if key in self.grades and self.grades[key] != self.old[key]]


def grade_benchmark(
    run: Run, variant: str, exam: Exam, grader: Grader, events: Events, *, again: bool
) -> list[SampleKey]:
    """Grade the samples of one variant and benchmark, and give the keys whose grade changed; listeners hear of all.

    With `again` false, grades made before by the same code are kept.
    """
    sheet = GradeSheet(run, variant, exam, grader, again=again)
    missing, benchmark = sheet.missing, grader.benchmark
    judgments = judge_samples(run, benchmark, variant, map(sheet.job, missing), events, ask=not again)
    tell = partial(tell_grades, events, variant, exam.benchmark)
    tell(sheet.grades)
    if not missing and sheet.path.exists() and list(sheet.old) == list(sheet.samples):
        return []
    with events.task(f"{variant}: grading {exam.benchmark}", len(missing), "answers") as advance:

        def keep(graded: Graded) -> None:
            (sheet.append if benchmark.runs_code else sheet.add)(graded)  # grades of code are too dear to lose
            if benchmark.judge is None:
                tell(by_key(graded))
            advance(len(graded))

        with GradingPool(benchmark, usable_cores(), keep) as pool:
            for job in map(sheet.job, missing):
                pool.put(job)
    if benchmark.judge is not None:
        primary = exam.metric == METRIC
        sheet.grades |= {key: judged(sheet.grades[key], judgments.get(key), primary) for key in missing}
        tell(sheet.grades)
    return sheet.write()


def by_key(graded: Graded) -> dict[SampleKey, Grade]:
    """Grades by the (item, sample) of their jobs."""
    return {(job.sample.item, job.sample.sample): grade for job, grade in graded}


def tell_grades(events: Events, variant: str, benchmark: str, grades: Mapping[SampleKey, Grade]) -> None:
    """Tell the listeners of a run of these grades."""
    for (item, sample), grade in grades.items():
        events.emit(SampleGraded(variant, benchmark, item, sample, grade.score))


def opens_reasoning(exam: Exam, spec: BenchmarkSpec) -> bool | None:
    """True if the exam's prompts end inside a reasoning; None where no tokenizer has made them."""
    if not exam.rendered:
        return None
    return any(ends_in_reasoning(text, spec.protocol.reasoning) for e in exam.items for text in e.texts or ())


def regraded_otherwise(
    exam: Exam, spec: BenchmarkSpec, samples: Mapping[SampleKey, Sample], grades: Mapping[SampleKey, Grade]
) -> SampleKey | None:
    """A sample whose stored grade is not what this code gives for its answer; None where none of those tried is.

    Up to REGRADED, spread evenly, of benchmarks of ours whose grader takes less than a millisecond and runs no code.
    """
    benchmark = load_benchmark(spec)
    ours = type(benchmark).__module__.startswith("bitparity.") and not spec.name.startswith(LM_EVAL_PREFIX)
    if not ours or benchmark.runs_code or benchmark.slow_grader or benchmark.judge is not None:
        return None
    items, opened = {entry.item.id: entry.item for entry in exam.items}, opens_reasoning(exam, spec)
    tried = [key for key, grade in grades.items() if grade.score is not None and items[key[0]].after is None]
    for key in tried[:: -(-len(tried) // REGRADED) or 1]:
        again = grade_sample(benchmark, items[key[0]], samples[key], spec.protocol, opened)
        if again.score is not None and again.score != grades[key].score:
            return key
    return None


def regrade_if_needed(path: Path, events: Events) -> tuple[bool, Reasons]:
    """Grade a run again where other code has graded any of it, such as another version of bitparity.

    Gives whether any of it was graded again, and the benchmarks that could not be, with the reasons: their grades stay
    as they are, and count nowhere.
    """
    run = Run(path)
    study = run.study()
    stale = {spec.name for spec in study.benchmarks for name in study.variants if graded_otherwise(run, name, spec)}
    left_out: Reasons = {}
    if stale:
        grade_run(path, events, left_out=left_out)
    left_out = {name: reason for name, reason in left_out.items() if name in stale}
    return len(left_out) < len(stale), left_out


def grade_run(
    path: Path, events: Events, *, unsafe_exec: bool = False, again: bool = False, left_out: Reasons | None = None
) -> dict[tuple[str, str], list[SampleKey]]:
    """Grade a whole run: what has no grade by this code, or everything `again`.

    Gives the samples whose grade changed, by (variant, benchmark). A benchmark that cannot be graded here, since its
    tests, its libraries or a sandbox are missing, is an error, or with `left_out` is named there with the reason.
    """
    changed: dict[tuple[str, str], list[SampleKey]] = {}
    with WritableRun(path) as run, ExitStack() as stack:
        study = run.study()
        graders = stack.enter_context(open_graders(run, study, None, unsafe_exec, left_out))
        record = run.environment()
        for spec, exam in frozen_exams(run, study):
            if (grader := graders.get(spec.name)) is None:
                continue
            try:
                grader.benchmark.check_tests([entry.item for entry in exam.items])
            except DataError as error:
                if left_out is None:
                    raise
                left_out[spec.name] = str(error)
                continue
            with suppress(StoreError):  # grades that are damaged or edited tell nothing
                if note_stops(run, study, spec, exam, record):
                    run.update_environment(record)
            for variant in study.variants:
                changed[variant, spec.name] = grade_benchmark(run, variant, exam, grader, events, again=again)
    return changed
