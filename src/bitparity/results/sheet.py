"""Sheets: one variant's samples and grades of one benchmark, item by item, with their shares and means.

And the spot check: whether the baseline's second run gave the answers of its first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bitparity.errors import RunError
from bitparity.exam.frozen import Exam, check_items, samples_asked
from bitparity.exam.stops import Answered, answered, asked_in_time, reached
from bitparity.grading.fingerprint import graded_otherwise
from bitparity.grading.passes import regraded_otherwise
from bitparity.records import Grade, Sample, SampleKey
from bitparity.results.schema import SpotCheck, Subset
from bitparity.schema import BenchmarkSpec, Study
from bitparity.stats.looks import Reached
from bitparity.store.run import Run

Scores = NDArray[np.float64]  # (items, samples) in [0, 1]; NaN where a sample has no score


@dataclass(frozen=True, slots=True)
class Sheet:
    """One variant's samples and grades of one benchmark, as a matrix in the exam's order.

    With `stop` the variant's comparison has ended there, and with `end` the time of the run was over after so many
    items: what was answered beyond it is not in the sheet.

    Results from elsewhere tell more: the items that only this variant has (`alone`), the sampling values that were
    noted (`settings`), and where they come from (`origin`, equal for the same results given twice).
    """

    scores: Scores
    samples: Mapping[SampleKey, Sample]
    grades: Mapping[SampleKey, Grade]
    alone: Sequence[str] = ()
    settings: Mapping[str, object] | None = None
    origin: str | None = None
    stop: Reached | None = None
    end: int | None = None

    @property
    def asked(self) -> int:
        """The number of items that count: all, or those up to the stop or the end of the time."""
        return self.stop.items if self.stop is not None else len(self.scores) if self.end is None else self.end

    @property
    def stopped(self) -> bool:
        """True where the comparison has ended before the end of the items."""
        return self.stop is not None and self.stop.by is not None

    @property
    def expected(self) -> int:
        """The number of samples that the exam asks for, up to the stop."""
        return self.asked * int(self.scores.shape[1])

    @property
    def missing(self) -> int:
        """Samples that were never written."""
        return self.expected - len(self.samples)

    @property
    def unscored(self) -> int:
        """Samples without a score, the missing ones included."""
        return int(np.isnan(self.scores[: self.asked]).sum())

    @property
    def graded(self) -> int:
        """The number of samples that have a score."""
        return self.expected - self.unscored

    def upto(self, items: Sequence[str], stop: Reached | None, end: int | None = None) -> Sheet:
        """The sheet without what comes after a stop, its own or another variant's, or after the time was over.

        `items` names the rows.
        """
        if stop is None and end is None:
            return self
        cut = replace(self, scores=self.scores.copy(), stop=stop, end=end)
        cut.scores[cut.asked :] = np.nan
        kept = set(items[: cut.asked])
        samples = {key: sample for key, sample in self.samples.items() if key[0] in kept}
        grades = {key: grade for key, grade in self.grades.items() if key[0] in kept}
        return replace(cut, samples=samples, grades=grades)

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
        return _share(g.metrics[name] for g in self.grades.values() if name in g.metrics)


def _share(each: Iterable[float]) -> float | None:
    values = list(each)
    return sum(values) / len(values) if values else None


def read_sheet(run: Run, exam: Exam, variant: str, spec: BenchmarkSpec, *, texts: bool = True) -> Sheet:
    """Read one variant's samples and grades of one benchmark. Without `texts` the answers are not there to be graded.

    Raises RunError where other code has graded them or a grade is not what this code gives, and StoreError where they
    do not belong to the exam.
    """
    if graded_otherwise(run, variant, spec):
        raise RunError(
            f"{run.grades_path(variant, spec.name)}: these grades were made by another version of the grader, or not "
            f"by bitparity. Make them again with: bitparity grade {run.path}"
        )
    samples_per_item = samples_asked(exam, spec)
    samples = run.samples(variant, spec.name)
    check_items(exam, samples, run.samples_path(variant, spec.name))
    samples = {key: sample for key, sample in samples.items() if key[1] < samples_per_item}
    grades = {key: grade for key, grade in run.grades(variant, spec.name).items() if key in samples}
    if texts and (wrong := regraded_otherwise(exam, spec, samples, grades)) is not None:
        raise RunError(
            f"{run.grades_path(variant, spec.name)}: the stored grade of item '{wrong[0]:.80}', sample {wrong[1]}, is "
            "not what the grader gives for the stored answer: one of the two was edited. Make all again with: "
            f"bitparity grade {run.path}"
        )
    return Sheet(_answered(exam, samples, grades, samples_per_item).scores, samples, grades)


def read_sheets(run: Run, study: Study, exam: Exam, spec: BenchmarkSpec, *, texts: bool = True) -> dict[str, Sheet]:
    """The sheets of all variants, each up to where its comparison has stopped or the time of the run was over.

    A spot check has none: nothing is scored by it. Raises as `read_sheet` does.
    """
    names = [name for name in study.variants if name != study.spot_check]
    sheets = {name: read_sheet(run, exam, name, spec, texts=texts) for name in names}
    record = run.environment()
    end = asked_in_time(record, exam)
    items, stops = [entry.item.id for entry in exam.items], dict[str, Reached | None]()
    if exam.stop is not None:
        found = {name: _answered(exam, s.samples, s.grades, s.scores.shape[1]) for name, s in sheets.items()}
        for name in study.candidates:
            stopped = record.variant(name).stops.get(spec.name)
            stops[name] = reached(exam, found[study.baseline], found[name], end, stopped)
    return {name: sheet.upto(items, stops.get(name), end) for name, sheet in sheets.items()}


def _answered(
    exam: Exam, samples: Mapping[SampleKey, Sample], grades: Mapping[SampleKey, Grade], per_item: int
) -> Answered:
    return answered(exam, per_item, {key: sample.finish == "error" for key, sample in samples.items()}, grades)


def spot_check(run: Run, study: Study, exam: Exam, drawn: Set[SampleKey], first: Sheet) -> SpotCheck:
    """Comparison of the baseline's second run with the `first` one, on the drawn answers that count there."""
    assert study.spot_check is not None
    counting = {entry.item.id for entry in exam.items[: first.asked]}
    asked = sorted(key for key in drawn if key[0] in counting)
    answered, other = compared(first.samples, run.samples(study.spot_check, exam.benchmark), asked)
    named = [item if sample == 0 else f"{item}, sample {sample}" for item, sample in other]
    return SpotCheck(variant=study.spot_check, asked=len(asked), answered=len(answered), differing=named)


def compared(
    one: Mapping[SampleKey, Sample], other: Mapping[SampleKey, Sample], keys: Iterable[SampleKey]
) -> tuple[list[SampleKey], list[SampleKey]]:
    """(the keys that both have answered, those of them with other texts)."""
    both = [key for key in keys if key in one and key in other]
    ended = [key for key in both if "error" not in (one[key].finish, other[key].finish)]
    return ended, [key for key in ended if one[key].text != other[key].text]


def subsets(labels: Sequence[str | None], sheets: Mapping[str, Sheet]) -> dict[str, Subset]:
    """The items of each label and the variants' means on them; `labels` has one an item, None for none.

    A variant that stopped has none: its part of the items is not the benchmark's.
    """
    # a data file may hold anything where a label is expected
    of_item = np.array([None if label is None else str(label) for label in labels], dtype=object)
    known = sorted({label for label in of_item if label is not None})
    return {
        label: Subset(
            items=int((of_item == label).sum()),
            means={n: None if s.stopped else _mean(s.scores[of_item == label]) for n, s in sheets.items()},
        )
        for label in known
    }


def _mean(scores: Scores) -> float | None:
    return None if np.isnan(scores).all() else float(np.nanmean(scores))
