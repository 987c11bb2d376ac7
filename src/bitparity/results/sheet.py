"""Sheets: one variant's samples and grades of one benchmark, item by item, with their shares and means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitparity.errors import RunError
from bitparity.exam.frozen import Exam, check_items, samples_asked
from bitparity.grading.fingerprint import graded_otherwise
from bitparity.records import Grade, Sample, SampleKey
from bitparity.results.schema import Subset
from bitparity.schema import BenchmarkSpec
from bitparity.store.run import Run

Scores = NDArray[np.float64]  # (items, samples) in [0, 1]; NaN where a sample has no score


@dataclass(frozen=True, slots=True)
class Sheet:
    """One variant's samples and grades of one benchmark, as a matrix in the exam's order.

    Results from elsewhere tell more: the items that only this variant has (`alone`), the sampling values that were
    noted (`settings`), and where they come from (`origin`, equal for the same results given twice).
    """

    scores: Scores
    samples: Mapping[SampleKey, Sample]
    grades: Mapping[SampleKey, Grade]
    alone: Sequence[str] = ()
    settings: Mapping[str, object] | None = None
    origin: str | None = None

    @property
    def expected(self) -> int:
        """The number of samples that the exam asks for."""
        return int(self.scores.size)

    @property
    def missing(self) -> int:
        """Samples that were never written."""
        return self.expected - len(self.samples)

    @property
    def unscored(self) -> int:
        """Samples without a score, the missing ones included."""
        return int(np.isnan(self.scores).sum())

    @property
    def graded(self) -> int:
        """The number of samples that have a score."""
        return self.expected - self.unscored

    def whole(self) -> NDArray[np.bool_]:
        """A flag for each item: it has a score for every sample."""
        return np.asarray(~np.isnan(self.scores).any(axis=1))

    def mean(self) -> float | None:
        """Mean of the scores; None where there is none."""
        return _mean(self.scores)

    def cut_off(self) -> float | None:
        """Share of the finished samples that ended at the token cap."""
        return _share(s.finish == "length" for s in self.samples.values() if s.finish != "error")

    def no_answer(self) -> float | None:
        """Share of the scored samples that hold no readable answer."""
        return _share(g.status == "no_answer" for g in self.grades.values() if g.score is not None)

    def written(self) -> list[Sample]:
        """The samples whose text was to be written: finished ones that are not log-likelihoods."""
        return [s for s in self.samples.values() if s.logprobs is None and s.finish != "error"]

    def metric(self, name: str) -> float | None:
        """Mean of one grader's scores over the samples that it scored."""
        values = [g.metrics[name] for g in self.grades.values() if name in g.metrics]
        return sum(values) / len(values) if values else None


def _share(flags: Iterable[bool]) -> float | None:
    values = list(flags)
    return sum(values) / len(values) if values else None


def read_sheet(run: Run, exam: Exam, variant: str, spec: BenchmarkSpec) -> Sheet:
    """Read one variant's samples and grades of one benchmark.

    Raises RunError where other code has graded them, and StoreError where they do not belong to the exam.
    """
    if graded_otherwise(run, variant, spec):
        raise RunError(
            f"{run.grades_path(variant, spec.name)}: these grades were made by another version of the grader, or not "
            f"by bitparity. Make them again with: bitparity grade {run.path}"
        )
    row = {entry.item.id: index for index, entry in enumerate(exam.items)}
    samples_per_item = samples_asked(exam, spec)
    scores = np.full((len(exam.items), samples_per_item), np.nan)
    samples = run.samples(variant, spec.name)
    check_items(exam, samples, run.samples_path(variant, spec.name))
    samples = {key: sample for key, sample in samples.items() if key[1] < samples_per_item}
    grades = {key: grade for key, grade in run.grades(variant, spec.name).items() if key in samples}
    for (item, sample), grade in grades.items():
        if grade.score is not None:
            scores[row[item], sample] = grade.score
    return Sheet(scores, samples, grades)


def subsets(labels: Sequence[str | None], sheets: Mapping[str, Sheet]) -> dict[str, Subset]:
    """The items of each label and the variants' means on them; `labels` has one an item, None for none."""
    # a data file may hold anything where a label is expected
    of_item = np.array([None if label is None else str(label) for label in labels], dtype=object)
    known = sorted({label for label in of_item if label is not None})
    return {
        label: Subset(
            items=int((of_item == label).sum()),
            means={name: _mean(sheet.scores[of_item == label]) for name, sheet in sheets.items()},
        )
        for label in known
    }


def _mean(scores: Scores) -> float | None:
    return None if np.isnan(scores).all() else float(np.nanmean(scores))
