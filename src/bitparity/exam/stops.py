"""Stops: at which look each comparison of a run has ended, found from its samples and grades alone.

Only whole blocks of the exam's order count, and only where both variants have answered them and are graded. So a run
that was killed, or used other devices, finds the same stop; answers beyond it are set aside. Where the time of a run
was over, its record says after which items that was: the last look is there.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bitparity.exam.chains import later
from bitparity.exam.frozen import Exam, groups_of, samples_asked
from bitparity.records import Grade, SampleKey
from bitparity.schema import BenchmarkSpec, Study
from bitparity.stats.arrays import Floats, PairedScores, pair_scores
from bitparity.stats.looks import Reached, chance_of_stop, follow
from bitparity.stats.sequential import Look
from bitparity.store.environment import RunRecord, VariantRecord
from bitparity.store.rows import scan_samples
from bitparity.store.run import Run


@dataclass(frozen=True, slots=True)
class Answered:
    """One variant's answers to an exam, shape (items, samples).

    `scores` has NaN where there is no score, `settled` is False where an answer or its grade is still to come.
    """

    scores: Floats
    settled: NDArray[np.bool_]


def answered(exam: Exam, samples: int, failed: Mapping[SampleKey, bool], grades: Mapping[SampleKey, Grade]) -> Answered:
    """The stored answers; `failed` tells by key whether there is none, for a reason of ours.

    What comes after a failed one in its chain could not be asked, so it has none either.
    """
    shape = len(exam.items), samples
    scores, settled = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
    row = {entry.item.id: index for index, entry in enumerate(exam.items)}
    after = later(entry.item for entry in exam.items)
    lost = ((each, k) for (item, k), without in failed.items() if without for each in after.get(item, ()))
    for (item, sample), without in {**dict.fromkeys(lost, True), **failed}.items():
        if sample < samples:
            grade = grades.get((item, sample))
            settled[row[item], sample] = without or grade is not None
            if grade is not None and grade.score is not None:
                scores[row[item], sample] = grade.score
    return Answered(scores, settled)


def asked_in_time(record: RunRecord, exam: Exam) -> int | None:
    """The items of an exam that every variant has answered once the time was over; None where none was left out."""
    asked = None if record.hours is None else record.hours.asked.get(exam.benchmark)
    return None if asked is None or asked >= len(exam.items) else asked


def reached(
    exam: Exam, baseline: Answered, candidate: Answered, end: int | None = None, stopped: int | None = None
) -> Reached | None:
    """The stop of a candidate's comparison; None without a rule, and where it goes on.

    An item without a score in one variant leaves both. `end` is the number of items after which the time was over,
    `stopped` that after which earlier grades have stopped it.
    """
    if exam.stop is None:
        return None
    ready = np.asarray((baseline.settled & candidate.settled).all(axis=1))
    whole = np.asarray(~np.isnan(baseline.scores + candidate.scores).any(axis=1))

    def upto(items: int) -> PairedScores | None:
        return _pairs(exam, baseline, candidate, whole[:items]) if ready[:items].all() else None

    found = follow(exam.stop, upto)
    if stopped is not None and (found is None or found.by is None):
        found = follow(exam.stop, upto, stopped)
        return None if found is None else replace(found, by=found.by or "regraded")
    return found if end is None or (found is not None and found.by is not None) else follow(exam.stop, upto, end)


def reached_in_run(run: Run, study: Study, spec: BenchmarkSpec, exam: Exam, candidate: str) -> Reached | None:
    """`reached` from the files of a run. The baseline and its second run never stop."""
    if exam.stop is None or candidate not in study.candidates:
        return None
    record = run.environment()
    ours, theirs = (_read(run, spec, exam, name) for name in (study.baseline, candidate))
    return reached(exam, ours, theirs, asked_in_time(record, exam), record.variant(candidate).stops.get(spec.name))


def chance_in_run(run: Run, study: Study, spec: BenchmarkSpec, exam: Exam, candidate: str) -> float:
    """The probability that the next look stops a candidate, from what both variants have answered up to it."""
    assert exam.stop is not None
    ours, theirs = (_read(run, spec, exam, name) for name in (study.baseline, candidate))
    ready = np.asarray((ours.settled & theirs.settled).all(axis=1))
    complete = len(ready) if ready.all() else int(np.argmin(ready))
    index = min(bisect.bisect_right(exam.stop.looks, complete), len(exam.stop.looks) - 1)
    scored = ready & np.asarray(~np.isnan(ours.scores + theirs.scores).any(axis=1))
    pairs = _pairs(exam, ours, theirs, scored[: exam.stop.looks[index]])
    return 0.0 if pairs is None else chance_of_stop(replace(pairs, look=Look(exam.stop, index)))


def _pairs(exam: Exam, baseline: Answered, candidate: Answered, counted: NDArray[np.bool_]) -> PairedScores | None:
    """The scores of both on the first items, of those that are `counted`; None where there is none."""
    rows, groups = np.flatnonzero(counted), groups_of(exam)
    picked = None if groups is None else [groups[row] for row in rows]
    return pair_scores(baseline.scores[rows], candidate.scores[rows], picked) if len(rows) else None


def note_stops(run: Run, study: Study, spec: BenchmarkSpec, exam: Exam, record: RunRecord) -> bool:
    """Note where candidates have stopped, as the grades of now say, before others are made; whether any was new."""
    before = {name: dict(record.variant(name).stops) for name in study.candidates}
    for name in study.candidates if exam.stop is not None else ():
        found = reached_in_run(run, study, spec, exam, name)
        if found is not None and found.by is not None:
            record.variants.setdefault(name, VariantRecord()).stops[spec.name] = found.items
    return before != {name: record.variant(name).stops for name in study.candidates}


def _read(run: Run, spec: BenchmarkSpec, exam: Exam, variant: str) -> Answered:
    failed: dict[SampleKey, bool] = {}
    for line in scan_samples(run.samples_path(variant, spec.name)):
        # one whole answer is enough, whatever failed before it
        failed[line.key] = line.failed and failed.get(line.key, True)
    return answered(exam, samples_asked(exam, spec), failed, run.grades(variant, spec.name))
